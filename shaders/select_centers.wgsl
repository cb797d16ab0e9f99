// Chooses the cluster centres: density [N], peaks [2, N] -> scores [2, N], selection [2 + k_max].
// scores: row 0 the finished delta, row 1 density * delta. selection: count, first patch that is not finite (N when all
// are), then the centres in ascending order, then N in the unused places.
// A centre scores above the threshold; when none does, the best `fallback` patches; when more than k_max do, the k_max
// best. Equal scores go to the lower index. One workgroup of 256 invocations; each round takes the best of what they
// offer, and only the invocation that offered it looks for its next. With 16,384 patches and 1,024 centres, the most there
// are, an invocation goes through fewer than 18,000 iterations of all loops; some drivers end them at 65,535.

@group(0) @binding(0) var<storage, read> density: array<f32>;          // [N]
@group(0) @binding(1) var<storage, read> peaks: array<f32>;            // [2, N]
@group(0) @binding(2) var<storage, read> params: array<u32>;           // [N, k_max, bits of the threshold, fallback]
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;     // [2, N]
@group(0) @binding(4) var<storage, read_write> selection: array<u32>;  // [2 + k_max]

const WORKGROUP = 256u;
const MAX_CENTERS = 1024u;

var<workgroup> sh_score: array<f32, 256>;
var<workgroup> sh_index: array<u32, 256>;
var<workgroup> sh_selected: array<u32, 1024>;

// The largest of one number per invocation, known to all of them afterwards.
fn workgroup_max(value: f32, local: u32) -> f32 {
    workgroupBarrier();
    sh_score[local] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if local < half {
            sh_score[local] = max(sh_score[local], sh_score[local + half]);
        }
        workgroupBarrier();
    }
    return workgroupUniformLoad(&sh_score[0]);
}

// The first of one index per invocation by (score descending, index ascending), left in sh_score[0] and sh_index[0].
fn workgroup_best(score: f32, index: u32, local: u32) {
    workgroupBarrier();
    sh_score[local] = score;
    sh_index[local] = index;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if local < half {
            let other = sh_score[local + half];
            let other_index = sh_index[local + half];
            if other > sh_score[local] || (other == sh_score[local] && other_index < sh_index[local]) {
                sh_score[local] = other;
                sh_index[local] = other_index;
            }
        }
        workgroupBarrier();
    }
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_index) local: u32) {
    let n = params[0];
    let k_max = params[1];
    let threshold = bitcast<f32>(params[2]);

    var farthest = 0.0;
    var not_finite = n;
    for (var i = local; i < n; i += WORKGROUP) {
        farthest = max(farthest, peaks[n + i]);
        if density[i] < 0.0 {
            not_finite = min(not_finite, i);
        }
    }
    let global_delta = workgroup_max(farthest, local);
    // Patches are counted well below 2^24, so an index survives as f32.
    let first_not_finite = n - u32(workgroup_max(f32(n - not_finite), local));

    // Each invocation only ever reads back the scores it wrote itself.
    for (var i = local; i < n; i += WORKGROUP) {
        let delta = select(peaks[i], global_delta, peaks[i] < 0.0);
        scores[i] = delta;
        scores[n + i] = density[i] * delta;
    }

    var count = 0u;
    var wanted = 0u; // rounds to take whatever their score: none, or the fallback
    var last_score = 0.0;
    var last_index = local; // each invocation owns the patches local, local + 256, ...
    var best = -1.0;
    var best_index = n;
    for (var round = 0u; round < min(k_max, n); round++) {
        if last_index % WORKGROUP == local {
            best = -1.0;
            best_index = n;
            for (var i = local; i < n; i += WORKGROUP) {
                let score = scores[n + i];
                let is_later = round == 0u || score < last_score || (score == last_score && i > last_index);
                if is_later && score > best {
                    best = score;
                    best_index = i;
                }
            }
        }
        workgroup_best(best, best_index, local);
        last_score = workgroupUniformLoad(&sh_score[0]);
        last_index = workgroupUniformLoad(&sh_index[0]);
        let is_above = last_score > threshold;
        if round == 0u {
            wanted = select(params[3], 0u, is_above);
        }
        if !(is_above || round < wanted) {
            break;
        }
        if local == 0u {
            sh_selected[round] = last_index;
        }
        count++;
    }
    workgroupBarrier();

    if local == 0u {
        selection[0] = count;
        selection[1] = first_not_finite;
    }
    for (var slot = local; slot < k_max; slot += WORKGROUP) {
        if slot < count {
            var rank = 0u;
            for (var other = 0u; other < count; other++) {
                rank += u32(sh_selected[other] < sh_selected[slot]);
            }
            selection[2u + rank] = sh_selected[slot];
        } else {
            selection[2u + slot] = n;
        }
    }
}
