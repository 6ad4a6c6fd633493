//! [NonMaxSuppression](https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html): of boxes that overlap much, the
//! one with the highest score.

use crate::{Case, Form, Room, attributes, floats, ints, noise, of_room, types};
use oxidane_graph::{
    Call, Dim, InferCtx, Kernel, Op, OpError, Param, Run, ShownDims, Signature, Unknown, kernel, shared,
};

attributes! {
    /// Rows of batch entry, class and box: for each class the best boxes of which no two overlap by more than the
    /// threshold.
    pub struct NonMaxSuppression {
        /// Whether boxes are given by center and sizes and not by two corners.
        center_point_box: bool = false,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("boxes", types::FLOAT32, ""),
        Param::one("scores", types::FLOAT32, ""),
        Param::optional("max_output_boxes_per_class", types::INT64, ""),
        Param::optional("iou_threshold", types::FLOAT32, ""),
        Param::optional("score_threshold", types::FLOAT32, ""),
    ],
    outputs: &[Param::one("selected_indices", types::INT64, "")],
};

/// The room of NonMaxSuppression.
pub static ROOM: Room = Room {
    domain: "",
    name: "NonMaxSuppression",
    since: &[10, 11],
    signature: &SIGNATURE,
    read: |a| Ok(shared(NonMaxSuppression::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // The specification's examples.
        let boxes = || {
            floats(
                &[1, 6, 4],
                &[
                    0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 0.0, -0.1, 1.0, 0.9, 0.0, 10.0, 1.0, 11.0, 0.0,
                    10.1, 1.0, 11.1, 0.0, 100.0, 1.0, 101.0,
                ],
            )
        };
        let scores = || floats(&[1, 1, 6], &[0.9, 0.75, 0.6, 0.95, 0.5, 0.3]);
        let of = |name, boxes, center_point_box| {
            Case::new(name, NonMaxSuppression { center_point_box }).input(boxes).input(scores())
        };
        vec![
            of("corners", boxes(), false)
                .input(ints(&[1], &[3]))
                .input(floats(&[1], &[0.5]))
                .input(floats(&[1], &[0.4]))
                .expect(ints(&[2, 3], &[0, 0, 3, 0, 0, 0])),
            of("all scores", boxes(), false)
                .input(ints(&[], &[i64::MAX]))
                .input(floats(&[], &[0.5]))
                .expect(ints(&[3, 3], &[0, 0, 3, 0, 0, 0, 0, 0, 5])),
            of("none", boxes(), false).expect(ints(&[0, 3], &[])),
            of(
                "centers",
                floats(
                    &[1, 6, 4],
                    &[
                        0.5, 0.5, 1.0, 1.0, 0.5, 0.6, 1.0, 1.0, 0.5, 0.4, 1.0, 1.0, 0.5, 10.5, 1.0, 1.0, 0.5,
                        10.6, 1.0, 1.0, 0.5, 100.5, 1.0, 1.0,
                    ],
                ),
                true,
            )
            .input(ints(&[1], &[2]))
            .input(floats(&[1], &[0.5]))
            .input(floats(&[1], &[0.0]))
            .expect(ints(&[2, 3], &[0, 0, 3, 0, 0, 0])),
            // Boxes of no size, no place or no number overlap nothing, and a score that is no number comes last.
            Case::new("odd", NonMaxSuppression { center_point_box: false })
                .input(floats(
                    &[1, 4, 4],
                    &[
                        f32::NAN,
                        0.0,
                        1.0,
                        1.0,
                        0.0,
                        0.0,
                        f32::INFINITY,
                        1.0,
                        0.0,
                        0.0,
                        0.0,
                        0.0,
                        -1e38,
                        -1e38,
                        3e38,
                        3e38,
                    ],
                ))
                .input(floats(&[1, 1, 4], &[0.1, f32::NAN, 0.5, f32::INFINITY]))
                .input(ints(&[], &[4]))
                .expect(ints(&[4, 3], &[0, 0, 3, 0, 0, 2, 0, 0, 0, 0, 0, 1])),
            Case::new("classes", NonMaxSuppression { center_point_box: true })
                .input(noise(&[2, 20, 4], 1))
                .input(noise(&[2, 3, 20], 2))
                .input(ints(&[], &[4]))
                .input(floats(&[], &[0.1]))
                .input(floats(&[], &[-0.5])),
        ]
    },
};

/// A box by its corners, and its area.
#[derive(Clone, Copy)]
struct Corners {
    low: [f32; 2],
    high: [f32; 2],
    area: f32,
}

impl Corners {
    fn new(values: &[f32], centered: bool) -> Corners {
        let (mut low, mut high) = ([0.0; 2], [0.0; 2]);
        for axis in 0..2 {
            let (a, b) = (values[axis], values[axis + 2]);
            (low[axis], high[axis]) = match centered {
                true => (a - b / 2.0, a + b / 2.0),
                false if a >= b => (b, a),
                false => (a, b),
            };
        }
        Corners { low, high, area: (high[0] - low[0]) * (high[1] - low[1]) }
    }

    /// Whether the boxes share more than `threshold` of what they cover together.
    fn overlaps(&self, other: &Corners, threshold: f32) -> bool {
        let side = |axis: usize| self.high[axis].min(other.high[axis]) - self.low[axis].max(other.low[axis]);
        let (height, width) = (side(0), side(1));
        if !(height > 0.0 && width > 0.0) {
            return false;
        }
        let both = height * width;
        let all = self.area + other.area - both;
        self.area > 0.0 && other.area > 0.0 && all > 0.0 && both / all > threshold
    }
}

fn scalar(run: &Run<'_>, input: usize, name: &str) -> Result<Option<f32>, OpError> {
    let Some(tensor) = run.try_tensor(input)? else { return Ok(None) };
    match tensor.to_dense()?.slice::<f32>()? {
        [x] => Ok(Some(*x)),
        many => Err(OpError::new(format!("`{name}` has {} elements, but must be a scalar", many.len()))),
    }
}

impl NonMaxSuppression {
    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (boxes, scores) = (run.dense(0)?, run.dense(1)?);
        let (&[batch, count, 4], &[batch_too, classes, count_too]) = (boxes.shape(), scores.shape()) else {
            return Err(fault(&format!("{:?}", boxes.shape()), &format!("{:?}", scores.shape())));
        };
        if batch != batch_too || count != count_too {
            return Err(fault(&format!("{:?}", boxes.shape()), &format!("{:?}", scores.shape())));
        }
        let most = match run.try_ints(2)?.as_deref() {
            None => 0,
            Some(&[most]) => usize::try_from(most.max(0))?,
            Some(many) => {
                return Err(OpError::new(format!(
                    "`max_output_boxes_per_class` has {} elements, but must be a scalar",
                    many.len()
                )));
            }
        };
        let overlap = scalar(run, 3, "iou_threshold")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&overlap) {
            return Err(OpError::new(format!("`iou_threshold` is {overlap}, but must lie between 0 and 1")));
        }
        let least = scalar(run, 4, "score_threshold")?;
        let mut selected: Vec<i64> = Vec::new();
        let (values, scores) = (boxes.slice::<f32>()?, scores.slice::<f32>()?);
        for entry in 0..if most == 0 || count == 0 { 0 } else { batch } {
            let boxes: Vec<Corners> = values[entry * count * 4..][..count * 4]
                .chunks_exact(4)
                .map(|b| Corners::new(b, self.center_point_box))
                .collect();
            for class in 0..classes {
                let scores = &scores[(entry * classes + class) * count..][..count];
                let mut order: Vec<usize> =
                    (0..count).filter(|&i| least.is_none_or(|least| scores[i] > least)).collect();
                // No number comes last; equal scores stay in order.
                let key = |i: usize| if scores[i].is_nan() { f32::NEG_INFINITY } else { scores[i] + 0.0 };
                order.sort_by(|&a, &b| {
                    let nan = scores[a].is_nan().cmp(&scores[b].is_nan());
                    nan.then(key(b).total_cmp(&key(a)))
                });
                let mut kept: Vec<Corners> = Vec::new();
                for (tried, i) in order.into_iter().enumerate() {
                    if tried % 64 == 0 {
                        run.checkpoint()?;
                    }
                    if kept.iter().any(|k| boxes[i].overlaps(k, overlap)) {
                        continue;
                    }
                    kept.push(boxes[i]);
                    selected.extend([entry as i64, class as i64, i as i64]);
                    if kept.len() == most {
                        break;
                    }
                }
            }
        }
        run.write::<i64>(0, &[selected.len() / 3, 3], |out| {
            out.copy_from_slice(&selected);
            Ok(())
        })
    }
}

fn fault(boxes: &str, scores: &str) -> OpError {
    OpError::new(format!("boxes of shape {boxes} and scores of shape {scores} do not fit each other"))
        .help("boxes are (batch, boxes, 4), scores (batch, classes, boxes)")
}

impl Op for NonMaxSuppression {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        if let (Some(boxes), Some(scores)) = (ctx.shape(0), ctx.shape(1)) {
            let differ = |a: Dim, b: Dim| a.as_known().zip(b.as_known()).is_some_and(|(a, b)| a != b);
            let wrong = boxes.len() != 3
                || scores.len() != 3
                || differ(boxes[2], Dim::known(4))
                || differ(boxes[0], scores[0])
                || differ(boxes[1], scores[2]);
            if wrong {
                let shown = |s: &[Dim]| ShownDims(s).to_string();
                return Err(Unknown::Wrong(fault(&shown(boxes), &shown(scores))));
            }
        }
        let rows = ctx.unknown_dim(0, 0);
        ctx.set_tensor(0, oxidane_tensor::DType::I64, [rows, Dim::known(3)]);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| op.run(run))
    }
}
