//! [SVMClassifier](https://onnx.ai/onnx/operators/onnx_aionnxml_SVMClassifier.html): the class that wins most
//! comparisons of two.

use super::labels::{Labels, largest};
use super::post_transform::{PostTransform, logistic};
use super::support_vectors::Similarity;
use super::svm_regressor::BLOCK;
use super::{DOMAIN, features};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, strings, types};
use oxidane_graph::{Call, Dim, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::DType;

attributes! {
    /// Each pair of classes is compared by a weighted sum over the support vectors of both, and the class that
    /// wins most is given out (the first of equals). The scores are those sums, or, with `prob_a` and `prob_b`,
    /// the probabilities of the classes by [pairwise coupling](https://www.csie.ntu.edu.tw/~cjlin/papers/svmprob/svmprob.pdf)
    /// as in LIBSVM. Without support vectors, each class has a weighted sum of the features, and the largest wins.
    pub struct SVMClassifier {
        classlabels_ints: Option<Vec<i64>>,
        classlabels_strings: Option<Vec<String>>,
        /// A row of weights of all support vectors for each class but one: that of vector `v` of class `i` against
        /// class `j` stands in row `j - 1` if `i < j`, otherwise in row `j`.
        coefficients: Option<Vec<f32>>,
        kernel_params: Option<Vec<f32>>,
        kernel_type: String = "LINEAR".to_owned(),
        post_transform: String = "NONE".to_owned(),
        prob_a: Option<Vec<f32>>,
        prob_b: Option<Vec<f32>>,
        rho: Option<Vec<f32>>,
        support_vectors: Option<Vec<f32>>,
        vectors_per_class: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FEATURES, "T1")],
    outputs: &[Param::one("Y", types::LABELS, "T2"), Param::one("Z", types::FLOAT32, "")],
};

/// The room of SVMClassifier.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "SVMClassifier",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SVMClassifier::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let two = |transform: &str| SVMClassifier {
            classlabels_ints: Some(vec![3, 5]),
            classlabels_strings: None,
            coefficients: Some(vec![0.5, -0.5, 0.3]),
            kernel_params: Some(vec![0.5, 0.1, 3.0]),
            kernel_type: "RBF".to_owned(),
            post_transform: transform.to_owned(),
            prob_a: None,
            prob_b: None,
            rho: Some(vec![0.1]),
            support_vectors: Some(vec![1.0, 2.0, 0.0, 1.0, -1.0, 0.0]),
            vectors_per_class: Some(vec![2, 1]),
        };
        let three = |kernel: &str| SVMClassifier {
            classlabels_ints: None,
            classlabels_strings: Some(["a", "b", "c"].map(str::to_owned).to_vec()),
            coefficients: Some(vec![0.5, -0.5, 0.3, 0.1, 0.2, -0.9]),
            kernel_type: kernel.to_owned(),
            rho: Some(vec![0.1, 0.2, -0.3]),
            vectors_per_class: Some(vec![1, 1, 1]),
            ..two("NONE")
        };
        let linear = |transform: &str| SVMClassifier {
            coefficients: Some(vec![0.5, -0.5, 0.3, 0.1]),
            support_vectors: None,
            vectors_per_class: None,
            ..two(transform)
        };
        let x = || floats(&[3, 2], &[1.0, 2.0, -1.0, 0.5, 0.0, 0.0]);
        // ONNX Runtime.
        let mut cases = vec![
            Case::new("two classes", two("NONE"))
                .input(x())
                .outputs(2)
                .expect(ints(&[3], &[3, 3, 3]))
                .expect(floats(
                    &[3, 2],
                    &[-0.421_554_98, 0.421_554_98, -0.119_086_82, 0.119_086_82, -0.019_736_38, 0.019_736_38],
                )),
            Case::new("logistic", two("LOGISTIC"))
                .input(x())
                .outputs(2)
                .expect(ints(&[3], &[3, 3, 3]))
                .expect(floats(
                    &[3, 2],
                    &[0.396_144_7, 0.603_855_3, 0.470_263_42, 0.529_736_6, 0.495_066_05, 0.504_933_95],
                )),
            Case::new(
                "probabilities",
                SVMClassifier { prob_a: Some(vec![-1.2]), prob_b: Some(vec![0.1]), ..two("NONE") },
            )
            .input(x())
            .outputs(2)
            .expect(ints(&[3], &[3, 3, 3]))
            .expect(floats(
                &[3, 2],
                &[0.599_508_64, 0.400_491_3, 0.510_724_3, 0.489_275_66, 0.480_929_05, 0.519_070_9],
            )),
            Case::new("polynomial", three("POLY"))
                .input(x())
                .outputs(2)
                .expect(strings(&[3], &["a", "a", "a"]))
                .expect(floats(
                    &[3, 3],
                    &[
                        8.222_499,
                        1.938_399_8,
                        0.023_800_03,
                        0.079_062_5,
                        0.264_9,
                        -0.485_825_03,
                        0.1,
                        0.200_400_01,
                        -0.300_7,
                    ],
                )),
            Case::new(
                "coupled",
                SVMClassifier {
                    prob_a: Some(vec![-1.0, -1.1, -1.2]),
                    prob_b: Some(vec![0.1, 0.2, 0.3]),
                    ..three("SIGMOID")
                },
            )
            .input(x())
            .outputs(2)
            .expect(strings(&[3], &["a", "a", "a"]))
            .expect(floats(
                &[3, 3],
                &[
                    0.343_700_26,
                    0.317_013_65,
                    0.339_285_88,
                    0.362_077_44,
                    0.228_280_87,
                    0.409_641_74,
                    0.346_252_5,
                    0.254_706_1,
                    0.399_041_44,
                ],
            )),
            Case::new("no vectors", linear("SOFTMAX"))
                .input(x())
                .outputs(2)
                .expect(ints(&[3], &[5, 5, 5]))
                .expect(floats(&[3, 2], &[0.268_941_43, 0.731_058_6, 0.377_540_68, 0.622_459_35, 0.5, 0.5])),
        ];
        for dtype in [DType::F64, DType::I64, DType::I32] {
            let x = ints(&[1, 2], &[1, 2]).cast(dtype, Default::default()).expect("numbers");
            cases.push(
                Case::new(dtype.name(), linear("NONE"))
                    .input(x)
                    .outputs(2)
                    .expect(ints(&[1], &[5]))
                    .expect(floats(&[1, 2], &[-0.4, 0.6])),
            );
        }
        cases
    },
};

/// A machine whose parts fit together.
struct Machine {
    similarity: Similarity,
    classes: usize,
    /// The first vector of each class, and the end of the last.
    starts: Vec<usize>,
    vectors: Vec<f32>,
    weights: Vec<f32>,
    width: usize,
    rho: Vec<f32>,
    /// Slope and offset of the probability of each pair; empty where scores are given out.
    probabilities: Vec<(f32, f32)>,
    positive: bool,
    transform: PostTransform,
}

impl SVMClassifier {
    fn labels(&self) -> Result<Labels, OpError> {
        Labels::new(self.classlabels_ints.as_ref(), self.classlabels_strings.as_ref())
    }

    fn has_vectors(&self) -> bool {
        self.vectors_per_class.iter().flatten().any(|&n| n != 0)
    }

    /// The number of scores of a row.
    fn scores(&self, classes: usize) -> usize {
        let probabilities = self.prob_a.as_ref().is_some_and(|p| !p.is_empty());
        match self.has_vectors() && !probabilities {
            true if classes > 2 => classes * (classes - 1) / 2,
            true => 2,
            false => classes,
        }
    }

    fn machine(&self, classes: usize) -> Result<Machine, OpError> {
        let wrong = |what: String| Err(OpError::new(what));
        let weights = self.coefficients.clone().unwrap_or_default();
        let rho = self.rho.clone().unwrap_or_default();
        if classes > 65535 {
            return wrong(format!("there are {classes} classes, but 65535 are the most"));
        }
        let mut machine = Machine {
            similarity: Similarity::Linear,
            classes,
            starts: vec![0],
            vectors: Vec::new(),
            positive: weights.iter().all(|&w| w >= 0.0),
            width: 0,
            weights,
            rho,
            probabilities: Vec::new(),
            transform: PostTransform::named(&self.post_transform)?,
        };
        if !self.has_vectors() {
            if machine.weights.is_empty() || !machine.weights.len().is_multiple_of(classes) {
                return wrong(format!("{} coefficients do not fit {classes} classes", machine.weights.len()));
            }
            machine.width = machine.weights.len() / classes;
            return Ok(machine);
        }
        let params = self.kernel_params.as_deref().unwrap_or_default();
        machine.similarity = Similarity::new(&self.kernel_type, params)?;
        let per_class = self.vectors_per_class.as_deref().unwrap_or_default();
        if per_class.len() != classes {
            return wrong(format!("vectors_per_class has {} counts for {classes} classes", per_class.len()));
        }
        machine.vectors = self.support_vectors.clone().unwrap_or_default();
        let mut total = 0usize;
        for &n in per_class {
            // No more than there are elements, so that no sum overflows.
            let count = usize::try_from(n).ok().filter(|&n| n <= machine.vectors.len());
            let Some(count) = count else { return wrong(format!("a class cannot have {n} vectors")) };
            total += count;
            machine.starts.push(total);
        }
        if machine.vectors.is_empty() || !machine.vectors.len().is_multiple_of(total) {
            return wrong(format!("{} elements are no {total} support vectors", machine.vectors.len()));
        }
        machine.width = machine.vectors.len() / total;
        let pairs = classes * (classes - 1) / 2;
        if machine.weights.len() < total * (classes - 1) {
            return wrong(format!(
                "{} coefficients are too few for {classes} classes of {total} vectors",
                machine.weights.len()
            ));
        }
        if machine.rho.len() < pairs {
            return wrong(format!("rho has {} values for {pairs} pairs of classes", machine.rho.len()));
        }
        let (a, b) = (self.prob_a.as_deref().unwrap_or_default(), self.prob_b.as_deref().unwrap_or_default());
        if a.len() != b.len() || (!a.is_empty() && a.len() < pairs) {
            return wrong(format!(
                "prob_a and prob_b have {} and {} values for {pairs} pairs",
                a.len(),
                b.len()
            ));
        }
        machine.probabilities = a.iter().copied().zip(b.iter().copied()).collect();
        Ok(machine)
    }
}

impl Machine {
    /// The sums of all pairs from the similarities of a row, and the class that wins.
    fn compare(&self, alike: &[f32], sums: &mut Vec<f32>, votes: &mut [u32]) -> u32 {
        sums.clear();
        votes.fill(0);
        let total = alike.len();
        for i in 0..self.classes {
            for j in i + 1..self.classes {
                let part = |class: usize, row: usize| {
                    let range = self.starts[class]..self.starts[class + 1];
                    let weights = &self.weights[row * total..(row + 1) * total];
                    weights[range.clone()]
                        .iter()
                        .zip(&alike[range])
                        .map(|(w, a)| f64::from(w * a))
                        .sum::<f64>()
                };
                let sum = part(i, j - 1) + part(j, i) + f64::from(self.rho[sums.len()]);
                votes[if sum > 0.0 { i } else { j }] += 1;
                sums.push(sum as f32);
            }
        }
        largest(votes)
    }

    /// The probabilities of the classes from the sums of the pairs.
    fn couple(&self, sums: &[f32], out: &mut [f32]) {
        let n = self.classes;
        let mut pairs = vec![0.0f32; n * n];
        let mut at = 0;
        for i in 0..n {
            for j in i + 1..n {
                let (a, b) = self.probabilities[at];
                let p = (1.0 - logistic(sums[at] * a + b)).clamp(1e-7, 1.0 - 1e-7);
                pairs[i * n + j] = p;
                pairs[j * n + i] = 1.0 - p;
                at += 1;
            }
        }
        coupled(&pairs, out);
    }

    /// The scores of two classes as they are given out, from the sum of their pair.
    fn binary(&self, sum: f32) -> [f32; 2] {
        self.transform.two(sum, self.transform != PostTransform::None)
    }
}

/// The probabilities that fit those of the pairs best, by the second method of Wu, Lin and Weng.
fn coupled(pairs: &[f32], out: &mut [f32]) {
    let n = out.len();
    let mut q = vec![0.0f32; n * n];
    for i in 0..n {
        out[i] = 1.0 / n as f32;
        for j in 0..n {
            if j != i {
                q[i * n + i] += pairs[j * n + i] * pairs[j * n + i];
                q[i * n + j] = -pairs[j * n + i] * pairs[i * n + j];
            }
        }
    }
    let near = 0.005 / n as f32;
    let mut qp = vec![0.0f32; n];
    for _ in 0..100 {
        let mut pqp = 0.0;
        for i in 0..n {
            qp[i] = (0..n).map(|j| q[i * n + j] * out[j]).sum();
            pqp += out[i] * qp[i];
        }
        if qp.iter().all(|v| (v - pqp).abs() < near) {
            return;
        }
        for i in 0..n {
            let step = (pqp - qp[i]) / q[i * n + i];
            out[i] += step;
            pqp = (pqp + step * (step * q[i * n + i] + 2.0 * qp[i])) / (1.0 + step) / (1.0 + step);
            for j in 0..n {
                qp[j] = (qp[j] + step * q[i * n + j]) / (1.0 + step);
                out[j] /= 1.0 + step;
            }
        }
    }
}

impl Op for SVMClassifier {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let labels = self.labels()?;
        let rows = features::rows(ctx)?.unwrap_or_else(|| ctx.unknown_dim(0, 0));
        ctx.set_tensor(0, labels.dtype(), [rows]);
        features::set_rows(ctx, 1, DType::F32, Some(Dim::from(self.scores(labels.len()))))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let labels = self.labels()?;
        let classes = labels.len();
        let machine = self.machine(classes)?;
        let columns_out = self.scores(classes);
        kernel(move |run| {
            let x = features::cast(run, 0, DType::F32)?;
            let (rows, columns) = features::sizes(x.shape())?;
            if columns != machine.width {
                return Err(OpError::new(format!(
                    "the input has {columns} columns, but the machine has {}",
                    machine.width
                )));
            }
            let mut out = run.allocate(1, DType::F32, &[rows, columns_out])?;
            let scores = out.slice_mut::<f32>()?;
            let mut picked = Vec::with_capacity(rows);
            let total = machine.starts[machine.starts.len() - 1];
            let mut alike = vec![0.0; BLOCK.min(rows) * total];
            let (mut sums, mut votes) = (Vec::new(), vec![0; classes]);
            let blocks = x.slice::<f32>()?.chunks((BLOCK * columns).max(1));
            for (scores, x) in scores.chunks_mut(BLOCK * columns_out).zip(blocks) {
                run.checkpoint()?;
                if total == 0 {
                    Similarity::Linear.all(run, x, &machine.weights, columns, scores)?;
                    let rho = machine.rho.first().copied().unwrap_or(0.0);
                    for row in scores.chunks_exact_mut(classes) {
                        row.iter_mut().for_each(|s| *s += rho);
                        let best = largest(row);
                        // Of two classes the second wins from a half on where nothing is negative, and
                        // otherwise as soon as any score is positive.
                        let least = row[best as usize];
                        let second = if machine.positive { least >= 0.5 } else { least > 0.0 };
                        picked.push(if classes == 2 && second { 1 } else { best });
                        machine.transform.apply(row);
                    }
                    continue;
                }
                let alike = &mut alike[..x.len() / columns * total];
                machine.similarity.all(run, x, &machine.vectors, columns, alike)?;
                for (row, alike) in scores.chunks_exact_mut(columns_out).zip(alike.chunks_exact(total)) {
                    picked.push(machine.compare(alike, &mut sums, &mut votes));
                    if !machine.probabilities.is_empty() {
                        machine.couple(&sums, row);
                        machine.transform.apply(row);
                    } else if classes > 2 {
                        row.copy_from_slice(&sums);
                        machine.transform.apply(row);
                    } else {
                        row.copy_from_slice(&sums.first().map_or([0.0; 2], |&sum| machine.binary(sum)));
                    }
                }
            }
            run.set(1, out.freeze());
            labels.set(run, 0, &picked)
        })
    }
}
