//! A matrix product with all that follows it: bias, addend and activation.

use crate::formula::{Formula, plain};
use crate::math::matmul::product_dims;
use crate::math::unary::Unary;
use crate::{Case, Form, Room, attributes, floats, noise, of_room, types};
use oxidane_graph::{
    Attributes, Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature, Unknown, ValueId,
    kernel, shared,
};
use oxidane_kernels::Function;
use oxidane_kernels::gemm::{Epilogue, Matrix, Weights};
use oxidane_tensor::{DType, Shape, Tensor};

attributes! {
    /// `activation(factor * A * B + bias + addend)`: B is a matrix, read transposed where asked, the leading dimensions of
    /// A stay, the bias has one number a column, and the addend has the result's shape.
    #[allow(non_snake_case, reason = "as Gemm spells it")]
    pub struct Product {
        factor: f32 = 1.0,
        transB: bool = false,
        activation: Option<String>,
        activation_alpha: Option<f32>,
        activation_beta: Option<f32>,
        activation_gamma: Option<f32>,
        activation_approximate: Option<String>,
        /// `bfloat16` rounds A and B where the machine has products of such numbers; sums are single precision.
        precision: Option<String>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("A", types::FLOAT32, "T"),
        Param::one("B", types::FLOAT32, "T"),
        Param::optional("bias", types::FLOAT32, "T"),
        Param::optional("addend", types::FLOAT32, "T"),
    ],
    outputs: &[Param::one("Y", types::FLOAT32, "T")],
};

/// The room of Product.
pub static ROOM: Room = Room {
    domain: "oxidane",
    name: "Product",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| {
        let product = Product::read(a)?;
        product.function()?;
        match product.precision.as_deref() {
            None | Some("bfloat16") => Ok(shared(product)),
            Some(other) => {
                Err(OpError::new(format!("`{other}` is no precision of a product; there is `bfloat16`")))
            }
        }
    },
    steps: &[],
    cases,
};

/// Whether this machine multiplies bfloat16, and quicker than single precision: where `precision` is worth setting.
pub fn bf16_pays() -> bool {
    oxidane_kernels::gemm::bf16_pays()
}

/// The activations that a product takes along; each is a standard operator with attributes of these names only. `Clip`
/// has its bounds as `activation_alpha` and `activation_beta`.
pub const ACTIVATIONS: &[&str] = &[
    "Clip",
    "Elu",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mish",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Swish",
    "Tanh",
];

impl Product {
    /// The attributes of the activation's own operator.
    fn own(&self) -> Attributes {
        let mut own = plain();
        let numbers = [
            ("alpha", self.activation_alpha),
            ("beta", self.activation_beta),
            ("gamma", self.activation_gamma),
        ];
        for (name, value) in numbers {
            if let Some(value) = value {
                own.set(name, value);
            }
        }
        if let Some(value) = &self.activation_approximate {
            own.set("approximate", value.clone());
        }
        own
    }

    /// The function of each sum.
    fn function(&self) -> Result<Option<Function>, OpError> {
        let Some(name) = self.activation.as_deref() else { return Ok(None) };
        if name == "Clip" {
            let [min, max] = self.bounds();
            return Ok(Some(Function::Clip { min, max }));
        }
        let known = ACTIVATIONS.iter().find(|known| **known == name).and_then(|name| crate::room("", name));
        let room =
            known.ok_or_else(|| OpError::new(format!("a product takes no activation `{name}` along")))?;
        let op = (room.read)(&self.own())?;
        match op.downcast::<Unary>() {
            Some(unary) => Ok(Some(unary.function())),
            None => Err(OpError::new(format!("{name} is no function of single numbers"))),
        }
    }

    /// Whether both sides are rounded to bfloat16: where that was asked for, and the machine has such products.
    pub fn is_rounded(&self) -> bool {
        self.precision.is_some() && oxidane_kernels::gemm::has_bf16()
    }

    /// The bounds of Clip.
    fn bounds(&self) -> [f64; 2] {
        [self.activation_alpha.unwrap_or(f32::MIN).into(), self.activation_beta.unwrap_or(f32::MAX).into()]
    }

    fn compute(
        &self,
        run: &mut Run<'_>,
        weights: &Weights,
        function: Option<Function>,
    ) -> Result<(), OpError> {
        let a = run.dense(0)?;
        let Some((&k, lead)) = a.shape().split_last() else {
            return Err(OpError::new("a scalar is no matrix"));
        };
        let n = weights.cols();
        let mut shape = Shape::from_slice(lead);
        shape.push(n);
        let rows = lead.iter().product();
        let bias = run.try_datum(2).is_some().then(|| run.dense(2)).transpose()?;
        let addend = run.try_datum(3).is_some().then(|| run.dense(3)).transpose()?;
        if let Some(other) = addend.as_ref().filter(|t| t.shape() != &shape[..]) {
            let found = other.shape();
            return Err(OpError::new(format!("the addend has the shape {found:?}, the product {shape:?}")));
        }
        let epilogue = Epilogue {
            alpha: self.factor,
            accumulate: false,
            bias: bias.as_ref().map(Tensor::slice).transpose()?,
            residual: addend.as_ref().map(Tensor::slice).transpose()?,
            function,
        };
        let pool = run.pool();
        run.write::<f32>(0, &shape, |out| {
            let left = Matrix::dense(a.slice()?, rows, k)?;
            Ok(weights.product(pool, left, &epilogue, out)?)
        })
    }
}

impl Op for Product {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let (Some(a), Some(b)) = (ctx.shape(0), ctx.shape(1)) else {
            ctx.set_unranked(0, DType::F32);
            return Ok(());
        };
        let &[rows, cols] = b else { return Err(Unknown::wrong("the right side must be a matrix")) };
        let dims = product_dims(a, &if self.transB { [cols, rows] } else { [rows, cols] })?;
        ctx.set_tensor(0, DType::F32, dims);
        Ok(())
    }

    fn packs(&self) -> &[usize] {
        &[1]
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let function = self.function()?;
        let of = |tensor: &Tensor, transposed| -> Result<Weights, OpError> {
            Weights::new(tensor, transposed)?.ok_or_else(|| {
                OpError::new(format!("the right side is {tensor:?}, but must be a float32 matrix"))
            })
        };
        let constant = call.constant(1).map(|b| of(b, self.transB)).transpose()?;
        let constant = match &self.precision {
            Some(_) => constant.map(Weights::in_bf16),
            None => constant,
        };
        let this = self.clone();
        kernel(move |run| match &constant {
            Some(weights) => this.compute(run, weights, function),
            None => {
                let weights = of(run.tensor(1)?, this.transB)?;
                this.compute(run, &weights, function)
            }
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let (a, mut b) = (f.need(0)?, f.need(1)?);
        if self.transB {
            b = f.transpose(b, &[1, 0])?;
        }
        let mut y = f.op("MatMul", &[a, b])?;
        if self.factor != 1.0 {
            let factor = f.number(self.factor.into(), y)?;
            y = f.op("Mul", &[y, factor])?;
        }
        for slot in [2, 3] {
            if let Some(other) = f.input(slot) {
                y = f.op("Add", &[y, other])?;
            }
        }
        match self.activation.as_deref() {
            None => {}
            Some("Clip") => {
                let [low, high] = self.bounds();
                let (low, high) = (f.number(low, y)?, f.number(high, y)?);
                y = f.op("Clip", &[y, low, high])?;
            }
            Some(name) => {
                self.function()?;
                y = f.with(name, self.own(), &[y])?;
            }
        }
        Ok(Some(vec![y]))
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |a: Attributes| Product::read(&a).expect("attributes of the operator");
    let with = |name: &str| Attributes::new().with("activation", name.to_owned());
    let a = || floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    // A B is [2, 12; 6.5, 24].
    let b = || floats(&[3, 2], &[1.0, -1.0, 0.5, 2.0, 0.0, 3.0]);
    let mut cases = vec![
        Case::new("plain", op(plain()))
            .input(a())
            .input(b())
            .expect(floats(&[2, 2], &[2.0, 12.0, 6.5, 24.0])),
        Case::new("all", op(with("Relu").with("factor", 0.5f32)))
            .input(a())
            .input(b())
            .input(floats(&[2], &[-2.0, 1.0]))
            .input(floats(&[2, 2], &[0.5, 0.25, -2.0, -20.0]))
            .expect(floats(&[2, 2], &[0.0, 7.25, 0.0, 0.0])),
        Case::new("transposed", op(plain().with("transB", 1i64)))
            .input(a())
            .input(floats(&[2, 3], &[1.0, 0.5, 0.0, -1.0, 2.0, 3.0]))
            .expect(floats(&[2, 2], &[2.0, 12.0, 6.5, 24.0])),
        Case::new("row", op(plain()))
            .input(floats(&[3], &[1.0, 2.0, 3.0]))
            .input(b())
            .input(floats(&[2], &[1.0, 2.0]))
            .expect(floats(&[2], &[3.0, 14.0])),
        Case::new("clip", op(with("Clip").with("activation_alpha", 3.0f32).with("activation_beta", 12.5f32)))
            .input(a())
            .input(b())
            .expect(floats(&[2, 2], &[3.0, 12.0, 6.5, 12.5])),
        Case::new("leaky", op(with("LeakyRelu").with("activation_alpha", 0.25f32).with("factor", -1.0f32)))
            .input(a())
            .input(b())
            .expect(floats(&[2, 2], &[-0.5, -3.0, -1.625, -6.0])),
        Case::new("batches", op(with("Gelu").with("activation_approximate", "tanh".to_owned())))
            .input(noise(&[3, 5, 9], 1))
            .input(noise(&[9, 33], 2))
            .input(noise(&[33], 3)),
        Case::new("nothing inside", op(plain()))
            .input(floats(&[2, 0], &[]))
            .input(floats(&[0, 2], &[]))
            .input(floats(&[2], &[1.0, 2.0]))
            .expect(floats(&[2, 2], &[1.0, 2.0, 1.0, 2.0])),
        Case::new("empty", op(plain())).input(floats(&[0, 3], &[])).input(b()).expect(floats(&[0, 2], &[])),
    ];
    for name in ACTIVATIONS {
        let mut attributes = with(name);
        match *name {
            "Elu" => attributes.set("activation_alpha", 0.5f32),
            "HardSigmoid" => {
                attributes.set("activation_alpha", 0.25f32);
                attributes.set("activation_beta", 0.375f32);
            }
            "Selu" => attributes.set("activation_gamma", 1.5f32),
            _ => {}
        }
        let case = Case::new(name, op(attributes)).input(noise(&[8, 6], 4)).input(noise(&[6, 5], 5));
        cases.push(case.input(noise(&[5], 6)).input(noise(&[8, 5], 7)));
    }
    cases
}
