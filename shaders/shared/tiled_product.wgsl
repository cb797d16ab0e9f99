// A product of matrices in tiles: y [M, N] = left [M, K] right [K, N]. The file that follows says what the factors are and
// where a result goes:
//   fn left(batch: u32, row: u32, k: u32) -> f32        called in range only
//   fn right(batch: u32, k: u32, column: u32) -> f32
//   fn store(batch: u32, row: u32, column: u32, sum: f32)
// Workgroup: 64 invocations. Needs shared/tile.wgsl and shared/register_tile.wgsl.

// What neighbouring invocations read should be neighbours in memory: `k` along a row where that is so, else rows (columns).
struct Product {
    rows: u32,
    columns: u32,
    inner: u32,
    left_along_k: bool,
    right_along_k: bool,
}

fn make_tile(product: Product, tile: u32, local: u32) {
    let column_tiles = (product.columns + TILE - 1u) / TILE;
    let tiles = column_tiles * ((product.rows + TILE - 1u) / TILE);
    let batch = tile / tiles;
    let first_row = ((tile % tiles) / column_tiles) * TILE;
    let first_column = ((tile % tiles) % column_tiles) * TILE;

    var sums: Sums;
    for (var first_k = 0u; first_k < product.inner; first_k += SLICE) {
        for (var at = local; at < SLICE * TILE; at += 64u) {
            let across = vec2<u32>(at % TILE, at / TILE); // (place in the tile, place in the slice)
            let along = vec2<u32>(at / SLICE, at % SLICE);
            let l = select(across, along, product.left_along_k);
            var value = 0.0;
            if first_row + l.x < product.rows && first_k + l.y < product.inner {
                value = left(batch, first_row + l.x, first_k + l.y);
            }
            sh_slices[l.y * STRIDE + l.x] = value;
            let r = select(across, along, product.right_along_k);
            value = 0.0;
            if first_column + r.x < product.columns && first_k + r.y < product.inner {
                value = right(batch, first_k + r.y, first_column + r.x);
            }
            sh_slices[COLUMNS + r.y * STRIDE + r.x] = value;
        }
        workgroupBarrier();
        add_slice(&sums, local);
        workgroupBarrier();
    }

    for (var i = 0u; i < 8u; i++) {
        let row = first_row + own_row(local) + 8u * i;
        for (var j = 0u; j < 8u; j++) {
            let column = first_column + own_column(local) + 8u * j;
            if row < product.rows && column < product.columns {
                store(batch, row, column, sums[2u * i + j / 4u][j % 4u]);
            }
        }
    }
}
