//! Conv on channels in blocks of 16, with what follows it: a sum and a function.

use super::{BLOCK, DOMAIN, activation, parts, sizes};
use crate::formula::{Formula, plain};
use crate::nn::window::Sliding;
use crate::{Case, Form, Room, attributes, noise, noise_of, of_room, types};
use oxidane_graph::{
    Attributes, Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature,
    Unknown, ValueId, kernel, shared,
};
use oxidane_kernels::Function;
use oxidane_kernels::blocked::{Convolution, Input, Products, Spec};
use oxidane_tensor::{CastRules, DType, Tensor};
use smallvec::SmallVec;

attributes! {
    /// A function of the convolution of blocked channels by weights (outputs, channels / group, kernel...), plus a bias
    /// and another blocked tensor.
    pub struct Conv {
        /// The function, by the name of its operator; none where it is empty.
        activation: String = String::new(),
        /// The numbers of the function.
        activation_params: Option<Vec<f32>>,
        /// How many channels the input has.
        channels: i64,
        /// Whether the input is not blocked: few channels, as they lie in ONNX.
        dense: bool = false,
        dilations: Option<Vec<i64>>,
        group: i64 = 1,
        pads: Option<Vec<i64>>,
        /// `bfloat16` allows to round X and W where the machine is quicker at products of such numbers; sums are single
        /// precision.
        precision: Option<String>,
        strides: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT32, "T"),
        Param::one("W", types::FLOAT32, "T"),
        Param::optional("B", types::FLOAT32, "T"),
        Param::optional("Z", types::FLOAT32, "T"),
    ],
    outputs: &[Param::one("Y", types::FLOAT32, "T")],
};

/// The room of Conv.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "Conv",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| {
        let op = Conv::read(a)?;
        if op.channels < 1 || op.group < 1 {
            return Err(OpError::new("attributes `channels` and `group` must be positive"));
        }
        activation::read(&op.activation, op.activation_params.as_deref().unwrap_or_default())?;
        match op.precision.as_deref() {
            None | Some("bfloat16") => Ok(shared(op)),
            Some(other) => {
                Err(OpError::new(format!("`{other}` is no precision of a convolution; there is `bfloat16`")))
            }
        }
    },
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |a: Attributes| Conv::read(&a).expect("attributes of the operator");
        // Numbers that bfloat16 holds, with sums that single precision holds.
        let whole = |shape: &[usize], seed: u64| {
            let bytes = noise_of(DType::I8, shape, seed);
            bytes.cast(DType::F32, CastRules::default()).expect("bytes are floats")
        };
        vec![
            Case::new(
                "window",
                op(plain()
                    .with("channels", 20i64)
                    .with("pads", vec![1i64; 4])
                    .with("strides", vec![2i64, 1])),
            )
            .input(noise(&[2, 2, 5, 6, 16], 1))
            .input(noise(&[35, 20, 3, 3], 2))
            .input(noise(&[35], 3)),
            Case::new(
                "sum and function",
                op(plain()
                    .with("channels", 32i64)
                    .with("activation", "Clip".to_owned())
                    .with("activation_params", vec![-0.5f32, 1.0])),
            )
            .input(noise(&[1, 2, 4, 3, 16], 4))
            .input(noise(&[16, 32, 1, 1], 5))
            .absent()
            .input(noise(&[1, 1, 4, 3, 16], 6)),
            Case::new(
                "channels apart",
                op(plain().with("channels", 18i64).with("group", 18i64).with("dilations", vec![2i64, 1])),
            )
            .input(noise(&[1, 2, 7, 5, 16], 7))
            .input(noise(&[18, 1, 3, 2], 8)),
            Case::new(
                "dense",
                op(plain()
                    .with("channels", 3i64)
                    .with("dense", true)
                    .with("activation", "HardSwish".to_owned())),
            )
            .input(noise(&[1, 3, 6, 7], 9))
            .input(noise(&[20, 3, 3, 3], 10))
            .input(noise(&[20], 11)),
            Case::new("line", op(plain().with("channels", 16i64).with("pads", vec![2i64, 0])))
                .input(noise(&[1, 1, 9, 16], 12))
                .input(noise(&[24, 16, 3], 13)),
            Case::new(
                "rounded",
                op(plain()
                    .with("channels", 40i64)
                    .with("pads", vec![1i64; 4])
                    .with("precision", "bfloat16".to_owned())
                    .with("activation", "Relu".to_owned())),
            )
            .input(whole(&[2, 3, 9, 5, 16], 14))
            .input(whole(&[35, 40, 3, 3], 15))
            .input(whole(&[35], 16))
            .input(whole(&[2, 3, 9, 5, 16], 17)),
            Case::new(
                "rounded dense",
                op(plain()
                    .with("channels", 3i64)
                    .with("dense", true)
                    .with("strides", vec![2i64; 2])
                    .with("precision", "bfloat16".to_owned())),
            )
            .input(whole(&[1, 3, 16, 17], 18))
            .input(whole(&[40, 3, 7, 7], 19)),
        ]
    },
};

impl Conv {
    fn sliding(&self) -> Sliding<'_> {
        Sliding {
            auto_pad: "NOTSET",
            kernel_shape: None,
            strides: self.strides.as_deref(),
            dilations: self.dilations.as_deref(),
            pads: self.pads.as_deref(),
        }
    }

    fn input(&self) -> Input {
        if self.dense { Input::Dense } else { Input::Blocked }
    }

    /// What the kernels take for weights of this shape.
    ///
    /// # Errors
    /// When attributes and weights do not agree.
    pub fn spec(&self, weights: &[usize]) -> Result<Spec, OpError> {
        let [outputs, _, kernel @ ..] = weights else {
            return Err(OpError::new(format!("weights of shape {weights:?} have no channels")));
        };
        let size = |v: i64| usize::try_from(v).map_err(|_| OpError::new("an attribute is negative"));
        Ok(Spec {
            groups: size(self.group)?,
            inputs: size(self.channels)?,
            outputs: *outputs,
            window: self.sliding().unresolved(Some(kernel))?,
        })
    }

    /// Whether there is a kernel for weights of this shape.
    pub fn fits(&self, weights: &[usize]) -> bool {
        self.spec(weights).is_ok_and(|spec| Convolution::fits(&spec, self.input()))
    }

    /// The products that the kernel takes for an input and weights of these shapes; `None` where they do not fit.
    pub fn products(&self, x: &[usize], weights: &[usize]) -> Option<Products> {
        let (batch, spatial) = match (self.dense, x) {
            (true, [batch, _, spatial @ ..]) => (*batch, spatial),
            _ => sizes(x).ok().map(|(batch, _, spatial)| (batch, spatial))?,
        };
        let spec = self.spec(weights).ok()?;
        Convolution::products(&spec, self.input(), self.precision.is_some(), batch, spatial).ok()
    }

    /// The convolution by these weights.
    ///
    /// # Errors
    /// When they do not fit the attributes.
    fn convolution(
        &self,
        weights: &Tensor,
        bias: Option<&Tensor>,
        function: Option<Function>,
    ) -> Result<Convolution, OpError> {
        let bias = bias.map(Tensor::to_dense).transpose()?;
        let bias = bias.as_ref().map(|b| b.slice()).transpose()?;
        let made = Convolution::new(&self.spec(weights.shape())?, self.input(), weights, bias, function)?;
        Ok(if self.precision.is_some() { made.in_bf16() } else { made })
    }

    fn compute(&self, run: &mut Run<'_>, convolution: &Convolution) -> Result<(), OpError> {
        let channels = convolution.spec().inputs;
        let x = run.dense(0)?;
        let (batch, spatial) = match (self.dense, x.shape()) {
            (true, [batch, found, spatial @ ..]) if *found == channels => (*batch, spatial),
            (true, found) => {
                return Err(OpError::new(format!("an input of shape {found:?} has not {channels} channels")));
            }
            (false, shape) => {
                let (batch, blocks, spatial) = sizes(shape)?;
                if blocks != channels.div_ceil(BLOCK) {
                    return Err(OpError::new(format!("{blocks} blocks do not hold {channels} channels")));
                }
                (batch, spatial)
            }
        };
        let mut shape: SmallVec<[usize; 6]> =
            SmallVec::from_slice(&[batch, convolution.spec().outputs.div_ceil(BLOCK)]);
        shape.extend(convolution.output(spatial)?);
        shape.push(BLOCK);
        let sum = run.try_tensor(3)?.map(|z| z.to_dense()).transpose()?;
        if sum.as_ref().is_some_and(|z| z.shape() != &shape[..]) {
            return Err(OpError::new("the tensor that is added has another shape than the convolution"));
        }
        let pool = run.pool();
        run.write::<f32>(0, &shape, |out| {
            let sum = sum.as_ref().map(|z| z.slice()).transpose()?;
            Ok(convolution.run(pool, batch, spatial, x.slice()?, sum, out)?)
        })
    }
}

impl Op for Conv {
    of_room!();

    fn packs(&self) -> &[usize] {
        &[1, 2]
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let (Some(x), Some(w)) = (ctx.shape(0), ctx.shape(1)) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let (batch, spatial) = match (self.dense, x) {
            (true, [batch, _, spatial @ ..]) => (*batch, spatial),
            (true, _) => return Err(Unknown::wrong("the input needs a batch and channels")),
            (false, _) => {
                let (batch, _, spatial) = parts(x)?;
                (batch, spatial)
            }
        };
        let [outputs, _, kernel @ ..] = w else {
            return Err(Unknown::wrong("the weights have no channels"));
        };
        let mut dims = Dims::from_slice(&[batch, super::blocks(*outputs)]);
        let sizes =
            self.sliding().dims(Some(kernel), spatial, false, &|axis| ctx.unknown_dim(0, axis + 2))?;
        dims.extend(sizes);
        dims.push(Dim::from(BLOCK));
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let numbers = self.activation_params.as_deref().unwrap_or_default();
        let function = activation::read(&self.activation, numbers)?;
        let (weights, bias) = (call.constant(1).cloned(), call.constant(2).cloned());
        let constant = match (&weights, &bias, call.inputs.get(2)) {
            (Some(w), Some(b), _) => Some(self.convolution(w, Some(b), function)?),
            (Some(w), None, None | Some(None)) => Some(self.convolution(w, None, function)?),
            _ => None,
        };
        let this = self.clone();
        kernel(move |run| {
            if let Some(convolution) = &constant {
                return this.compute(run, convolution);
            }
            let weights = weights.as_ref().map_or_else(|| run.tensor(1), Ok)?;
            let bias = bias.as_ref().map_or_else(|| run.try_tensor(2), |b| Ok(Some(b)))?;
            this.compute(run, &this.convolution(weights, bias, function)?)
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let mut x = f.need(0)?;
        if !self.dense {
            x = f.build().add(super::unblock::Unblock { channels: self.channels }, &[x]);
        }
        let mut attributes = plain().with("group", self.group);
        for (name, list) in [("dilations", &self.dilations), ("pads", &self.pads), ("strides", &self.strides)]
        {
            attributes.set(name, list.clone());
        }
        let inputs = [Some(x), f.input(1), f.input(2)];
        let y = f.node("Conv", &attributes, &inputs, 1)?[0];
        let mut y = f.build().add(super::block::Block {}, &[y]);
        if let Some(z) = f.input(3) {
            y = f.op("Add", &[y, z])?;
        }
        let numbers = self.activation_params.as_deref().unwrap_or_default();
        if let Some(function) = activation::read(&self.activation, numbers)? {
            // Lanes without a channel hold what the function makes of nought.
            y = activation::apply(f, y, function)?;
        }
        Ok(Some(vec![y]))
    }
}
