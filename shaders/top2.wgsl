// top2: the two largest of some logits [V], the lower id first among equals, and whether all are numbers. The best is the
// next token, which need not pass through the CPU.
//
// Workgroup: 256 invocations of one workgroup; each looks at every 256th, then halves of them are joined.

@group(0) @binding(0) var<storage, read> logits: array<f32>;      // [V]
@group(0) @binding(1) var<storage, read> params: array<u32>;      // [V]
// [6]: the next token, always below V; id and logit as bits, twice; the first NaN. V for none.
@group(0) @binding(2) var<storage, read_write> found: array<u32>;

const LANES = 256u;

var<workgroup> sh_ids: array<vec2<u32>, 256>;
var<workgroup> sh_logits: array<vec2<f32>, 256>;
var<workgroup> sh_bad: array<u32, 256>;

// A logit among the two best of a lane.
fn add(lane: u32, id: u32, logit: f32) {
    let ids = sh_ids[lane];
    let logits = sh_logits[lane];
    if beats(id, logit, ids.x, logits.x) {
        sh_ids[lane] = vec2<u32>(id, ids.x);
        sh_logits[lane] = vec2<f32>(logit, logits.x);
    } else if beats(id, logit, ids.y, logits.y) {
        sh_ids[lane] = vec2<u32>(ids.x, id);
        sh_logits[lane] = vec2<f32>(logits.x, logit);
    }
}

fn beats(id: u32, logit: f32, other_id: u32, other: f32) -> bool {
    if id == params[0] {
        return false;
    }
    return other_id == params[0] || logit > other || (logit == other && id < other_id);
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_index) local: u32) {
    let v = params[0];
    sh_ids[local] = vec2<u32>(v);
    sh_logits[local] = vec2<f32>(0.0);
    sh_bad[local] = v;
    for (var i = local; i < v; i += LANES) {
        let logit = logits[i];
        // Bits, because a compiler may take it for granted that a number equals itself.
        if (bitcast<u32>(logit) & 0x7fffffffu) > 0x7f800000u {
            sh_bad[local] = min(sh_bad[local], i);
        } else {
            add(local, i, logit);
        }
    }
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if local < half {
            let ids = sh_ids[local + half];
            let others = sh_logits[local + half];
            add(local, ids.x, others.x);
            add(local, ids.y, others.y);
            sh_bad[local] = min(sh_bad[local], sh_bad[local + half]);
        }
        workgroupBarrier();
    }
    if local == 0u {
        found[0] = min(sh_ids[0].x, v - 1u);
        found[1] = sh_ids[0].x;
        found[2] = bitcast<u32>(sh_logits[0].x);
        found[3] = sh_ids[0].y;
        found[4] = bitcast<u32>(sh_logits[0].y);
        found[5] = sh_bad[0];
    }
}
