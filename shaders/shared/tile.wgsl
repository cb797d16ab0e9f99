// How 64 invocations share a tile of 64 x 64 sums, 8 x 8 each, and the slices of the rows and columns that make them. Joined in
// front of register_tile.wgsl and distance_tile.wgsl. Workgroup memory: 8.2 KiB.

const TILE = 64u;
const SLICE = 16u; // of what is summed over, at a time
const STRIDE = 65u; // one more than a tile, so that neighbours write to different banks
const COLUMNS = 1040u; // where the slice of the columns begins: SLICE * STRIDE

var<workgroup> sh_slices: array<f32, 2080>; // [SLICE, STRIDE] of the rows, then of the columns

// Row i is at [2 i] and [2 i + 1]: row own_row(local) + 8 i, columns own_column(local) + 0, 8, 16 .. 56.
// All that is done to them is written out: sums that are found by a running index do not stay in registers.
alias Sums = array<vec4<f32>, 16>;

fn own_row(local: u32) -> u32 {
    return local / 8u;
}

fn own_column(local: u32) -> u32 {
    return local % 8u;
}
