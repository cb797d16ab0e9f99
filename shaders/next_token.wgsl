// next_token: what was chosen becomes what is read next: the id of a token, the position that it will have, and, for those who
// read later, what top2 or sample_token found at each position.
//
// Shapes: found [6], the token first; id and offset [1]; ring [16, 6], whose rows are positions modulo 16.
// Workgroup: one invocation of 64 works; the others do nothing.

@group(0) @binding(0) var<storage, read> found: array<u32>;
@group(0) @binding(1) var<storage, read_write> id: array<u32>;
@group(0) @binding(2) var<storage, read_write> offset: array<u32>;
@group(0) @binding(3) var<storage, read_write> ring: array<u32>;

const MAX_RUN_AHEAD = 16u;
const FOUND = 6u;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) local: u32) {
    if local > 0u {
        return;
    }
    for (var i = 0u; i < FOUND; i++) {
        ring[offset[0] % MAX_RUN_AHEAD * FOUND + i] = found[i];
    }
    id[0] = found[0];
    offset[0] += 1u;
}
