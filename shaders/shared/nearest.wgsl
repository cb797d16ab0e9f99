// The smallest of some distances. Joined in front of knn_density.wgsl and reduce_neighbors.wgsl; needs shared/far.wgsl.

const MAX_K = 32u;

alias Nearest = array<f32, 32>; // ascending, k in use

fn forget(own: ptr<function, Nearest>) {
    for (var t = 0u; t < MAX_K; t++) {
        (*own)[t] = FAR;
    }
}

// Keeps a distance if it is among the k smallest.
fn keep(own: ptr<function, Nearest>, k: u32, distance: f32) {
    if !(distance < (*own)[k - 1u]) {
        return;
    }
    var t = k - 1u;
    while t > 0u && (*own)[max(t, 1u) - 1u] > distance {
        (*own)[t] = (*own)[t - 1u];
        t--;
    }
    (*own)[t] = distance;
}
