//! Positions, lengths and numbers of heads come from files and inputs: whatever they are, there is an error and no
//! panic.

use oxidane_graph::Op;
use oxidane_ops::attention::{
    attention::Attention, linear_attention::LinearAttention, rotary_embedding::RotaryEmbedding,
    tensor_scatter::TensorScatter,
};
use oxidane_ops::{Case, Interpreter, Room, ints, ints_of, noise, room};
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Tensor};

const EXTREMES: [i64; 6] = [i64::MIN, i64::MIN + 1, -1, 7, i64::MAX - 1, i64::MAX];

fn outcome(case: &Case) -> Result<(), String> {
    let mut graph = case.graph();
    oxidane_graph::infer(&mut graph);
    let given = case.inputs.iter().filter(|i| i.is_some()).cloned().collect();
    let run = Interpreter::new(Pool::new(1), 1 << 24).run(&graph, given);
    run.map(|_| ()).map_err(|p| p.error.to_string())
}

/// Runs an operator and gives the error.
fn error(op: impl Op, inputs: &[Option<Tensor>]) -> String {
    let case = inputs.iter().fold(Case::new("bad", op), |case, input| match input {
        Some(tensor) => case.input(tensor.clone()),
        None => case.absent(),
    });
    outcome(&case).expect_err("the inputs are wrong")
}

fn scatter(mode: &str) -> TensorScatter {
    TensorScatter { axis: 1, mode: mode.to_owned() }
}

#[test]
fn indices_outside() {
    let (cache, update) = (noise(&[2, 3, 2], 1), noise(&[2, 2, 2], 2));
    for at in EXTREMES {
        let places = ints(&[2], &[0, at]);
        let all = [Some(cache.clone()), Some(update.clone()), Some(places)];
        assert!(error(scatter("linear"), &all).contains(&at.to_string()));
        if at < 0 {
            assert!(error(scatter("circular"), &all).contains(&at.to_string()));
        }
        let x = Some(noise(&[1, 1, 2, 4], 1));
        let (cos, sin) = (Some(noise(&[5, 2], 2)), Some(noise(&[5, 2], 3)));
        let turn = RotaryEmbedding { interleaved: false, num_heads: None, rotary_embedding_dim: 0 };
        assert!(error(turn, &[x, cos, sin, Some(ints(&[1, 2], &[0, at]))]).contains(&at.to_string()));
        let side = || Some(noise(&[1, 1, 3, 2], 1));
        let all = [side(), side(), side(), None, None, None, Some(ints(&[1], &[at]))];
        let op = Attention { is_causal: true, ..Attention::default() };
        assert!(error(op, &all).contains(&at.to_string()));
    }
    // The rows must fit behind the last place.
    error(scatter("linear"), &[Some(cache.clone()), Some(update.clone()), Some(ints(&[2], &[0, 2]))]);
    error(scatter("linear"), &[Some(cache.clone()), Some(update.clone()), Some(ints(&[1], &[0]))]);
    error(scatter("ring"), &[Some(cache), Some(update)]);
}

#[test]
fn heads_and_sizes_outside() {
    let side = || Some(noise(&[1, 3, 4], 1));
    for heads in EXTREMES.into_iter().chain([0, 3]) {
        let op = Attention { q_num_heads: Some(heads), kv_num_heads: Some(1), ..Attention::default() };
        error(op, &[side(), side(), side()]);
        let op = Attention { q_num_heads: Some(1), kv_num_heads: Some(heads), ..Attention::default() };
        error(op, &[side(), side(), side()]);
        let op = LinearAttention {
            chunk_size: 64,
            kv_num_heads: heads,
            q_num_heads: heads,
            scale: 0.0,
            update_rule: "linear".to_owned(),
        };
        error(op, &[side(), side(), side()]);
        let op = RotaryEmbedding { interleaved: false, num_heads: Some(heads), rotary_embedding_dim: 0 };
        error(op, &[side(), Some(noise(&[1, 3, 2], 1)), Some(noise(&[1, 3, 2], 1))]);
        let op = RotaryEmbedding { interleaved: false, num_heads: Some(1), rotary_embedding_dim: heads };
        if heads != 0 {
            error(op, &[side(), Some(noise(&[1, 3, 2], 1)), Some(noise(&[1, 3, 2], 1))]);
        }
    }
    let four = || Some(noise(&[1, 2, 3, 4], 1));
    let plain = Attention::default;
    error(Attention { left_window_size: -2, ..plain() }, &[four(), four(), four()]);
    error(Attention { qk_matmul_output_mode: 9, ..plain() }, &[four(), four(), four()]);
    error(plain(), &[four(), four(), four(), Some(noise(&[2, 3], 1))]);
    error(plain(), &[four(), four(), four(), Some(noise(&[3, 9], 1))]);
    error(plain(), &[four(), four(), four(), None, four()]);
    error(plain(), &[four(), four(), four(), None, Some(noise(&[2, 2, 3, 4], 1)), four()]);
    error(plain(), &[four(), Some(noise(&[1, 3, 3, 4], 1)), Some(noise(&[1, 3, 3, 4], 1))]);
    // Windows may be as large as numbers go.
    for size in [0, 1, i64::MAX] {
        let op = Attention { left_window_size: size, right_window_size: size, is_causal: true, ..plain() };
        let case = (0..3).fold(Case::new("window", op), |case, i| case.input(noise(&[1, 2, 3, 4], i)));
        assert_eq!(outcome(&case), Ok(()));
    }
}

/// Lengths of a cache that are not those of the cache.
#[test]
fn lengths_of_a_cache() {
    let room: &Room = room("com.microsoft", "GroupQueryAttention").unwrap();
    let attributes = oxidane_graph::Attributes::new().with("num_heads", 2i64).with("kv_num_heads", 1i64);
    let run = |length: i64, total: i64, past: bool| {
        let mut case = Case::new("lengths", Attention::default());
        case.op = (room.read)(&attributes).unwrap();
        case = case.input(noise(&[1, 2, 8], 1)).input(noise(&[1, 2, 4], 2)).input(noise(&[1, 2, 4], 3));
        case = match past {
            true => case.input(noise(&[1, 1, 3, 4], 4)).input(noise(&[1, 1, 3, 4], 5)),
            false => case.absent().absent(),
        };
        outcome(&case.input(ints_of(DType::I32, &[1], &[length])).input(ints_of(DType::I32, &[1], &[total])))
    };
    assert_eq!(run(4, 5, true), Ok(()));
    assert_eq!(run(1, 2, false), Ok(()));
    let extremes = [i32::MIN, i32::MIN + 1, -1, 7, i32::MAX - 1, i32::MAX].map(i64::from);
    for extreme in extremes {
        if extreme > 0 {
            assert!(run(extreme, 5, true).is_err());
            assert!(run(extreme, 2, false).is_err());
        }
        for past in [false, true] {
            // Whatever comes out, nothing is read or taken that is not there.
            let _ = run(extreme, 5, past);
            assert!(extreme > 0 || run(1, extreme, past).is_err());
            let _ = run(1, extreme, past);
        }
    }
    assert!(run(1, i32::MAX.into(), true).is_err());
}

#[test]
fn words_outside() {
    let room = room("com.microsoft", "EmbedLayerNormalization").unwrap();
    for at in [i32::MIN, -5, 4, i32::MAX].map(i64::from) {
        let mut case = Case::new("words", Attention::default());
        case.op = (room.read)(&oxidane_graph::Attributes::new()).unwrap();
        case = case.input(ints_of(DType::I32, &[1, 2], &[0, at])).absent().input(noise(&[4, 2], 1));
        case = case.input(noise(&[2, 2], 2)).absent().input(noise(&[2], 3)).input(noise(&[2], 4));
        assert!(outcome(&case).is_err());
    }
}
