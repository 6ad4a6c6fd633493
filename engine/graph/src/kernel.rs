use crate::{OpError, Type};
use oxidane_pool::Pool;
use oxidane_tensor::{Buffer, DType, Datum, Element, Tensor, TensorError, TensorMut};
use smallvec::SmallVec;
use std::cell::RefCell;

/// What is known of a node when its kernel is chosen.
pub struct Call<'a> {
    /// The types of the inputs as far as they are known; `None` for absent inputs as well.
    pub inputs: &'a [Option<Type>],
    /// The inputs that are constant.
    pub constants: &'a [Option<Tensor>],
    /// Which outputs are asked for.
    pub outputs: &'a [bool],
}

impl Call<'_> {
    /// The element type of an input, where known.
    pub fn dtype(&self, input: usize) -> Option<DType> {
        self.inputs.get(input)?.as_ref()?.dtype()
    }

    /// The value of an input, where it is constant.
    pub fn constant(&self, input: usize) -> Option<&Tensor> {
        self.constants.get(input)?.as_ref()
    }
}

/// A bound operator: it computes outputs from inputs, as often as one likes and from several threads.
pub trait Kernel: Send + Sync {
    /// Computes the outputs of one call.
    ///
    /// # Errors
    /// When the inputs are at fault, memory is short, or the run was stopped.
    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError>;
}

impl<F: Fn(&mut Run<'_>) -> Result<(), OpError> + Send + Sync> Kernel for F {
    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        self(run)
    }
}

/// A kernel from a closure.
///
/// # Errors
/// None; the result is what [`crate::Op::kernel`] returns.
pub fn kernel<F>(run: F) -> Result<Box<dyn Kernel>, OpError>
where
    F: Fn(&mut Run<'_>) -> Result<(), OpError> + Send + Sync + 'static,
{
    Ok(Box::new(run))
}

/// What a running kernel needs from whoever runs it.
pub trait Host: Sync {
    /// A zeroed or recycled block of exactly `bytes` for output `output`; its content is arbitrary.
    ///
    /// # Errors
    /// When it does not fit the budget or memory.
    fn allocate(&self, output: usize, bytes: usize) -> Result<Buffer, OpError>;

    /// A block of exactly `bytes` for what a kernel needs only while it runs; its content is arbitrary.
    ///
    /// # Errors
    /// When it does not fit the budget or memory.
    fn scratch(&self, bytes: usize) -> Result<Buffer, OpError> {
        self.afford(bytes)?;
        Ok(Buffer::zeroed(bytes)?)
    }

    /// Refuses memory of `bytes` that the budget does not allow, and takes none.
    ///
    /// # Errors
    /// When it is too large for the budget.
    fn afford(&self, bytes: usize) -> Result<(), OpError>;

    /// The threads for loops inside the kernel.
    fn pool(&self) -> &Pool;

    /// Whether the run may go on; kernels with long loops ask now and then.
    ///
    /// # Errors
    /// When the run was cancelled or ran out of its time.
    fn checkpoint(&self) -> Result<(), OpError>;

    /// Runs a body of the node on its formal inputs (captures are added by the host). The list of the inputs may come
    /// back as that of the outputs.
    ///
    /// # Errors
    /// Those of the body.
    fn run_body(&self, body: usize, inputs: Vec<Datum>) -> Result<Vec<Datum>, OpError>;

    /// The type of an output of a body of the node, as far as it is known without running it.
    fn body_output(&self, body: usize, output: usize) -> Option<Type>;
}

/// Integers that an input holds, such as axes.
pub type IntList = SmallVec<[i64; 8]>;

fn byte_len(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    let count = oxidane_tensor::element_count(shape)?;
    dtype.byte_len(count).ok_or_else(|| TensorError::TooLarge { shape: shape.to_vec() })
}

/// One call of a kernel: its inputs, its outputs so far, and its host.
pub struct Run<'a> {
    inputs: Vec<Option<Datum>>,
    /// Stand in where `inputs` have none.
    constants: &'a [Option<Datum>],
    outputs: Vec<Option<Datum>>,
    wanted: &'a [bool],
    host: &'a dyn Host,
}

impl<'a> Run<'a> {
    /// A call with `inputs`; `wanted` says which outputs somebody uses.
    pub fn new(inputs: Vec<Option<Datum>>, wanted: &'a [bool], host: &'a dyn Host) -> Run<'a> {
        Run::over(inputs, &[], Vec::new(), wanted, host)
    }

    /// As [`Run::new`], with inputs that are the same for every call (they stand in where `inputs` have none), and a
    /// list for the outputs that is used again.
    pub fn over(
        inputs: Vec<Option<Datum>>,
        constants: &'a [Option<Datum>],
        mut outputs: Vec<Option<Datum>>,
        wanted: &'a [bool],
        host: &'a dyn Host,
    ) -> Run<'a> {
        outputs.clear();
        outputs.resize(wanted.len(), None);
        Run { inputs, constants, outputs, wanted, host }
    }

    /// The outputs that the kernel has set.
    pub fn into_outputs(self) -> Vec<Option<Datum>> {
        self.outputs
    }

    /// The inputs that are left, and the outputs that the kernel has set.
    pub fn into_parts(self) -> (Vec<Option<Datum>>, Vec<Option<Datum>>) {
        (self.inputs, self.outputs)
    }

    /// How many inputs the call has, absent ones included.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// How many outputs the call has, unused ones included.
    pub fn output_count(&self) -> usize {
        self.wanted.len()
    }

    /// Whether somebody uses an output.
    pub fn wants(&self, output: usize) -> bool {
        self.wanted.get(output).copied().unwrap_or(false)
    }

    /// An input of any kind.
    ///
    /// # Errors
    /// When it is absent.
    pub fn datum(&self, input: usize) -> Result<&Datum, OpError> {
        self.try_datum(input).ok_or_else(|| OpError::new(format!("input {input} is missing")))
    }

    /// An input of any kind, where it is given.
    pub fn try_datum(&self, input: usize) -> Option<&Datum> {
        match self.inputs.get(input)? {
            None => self.constants.get(input)?.as_ref(),
            given => given.as_ref(),
        }
    }

    /// A tensor input.
    ///
    /// # Errors
    /// When it is absent or no tensor.
    pub fn tensor(&self, input: usize) -> Result<&Tensor, OpError> {
        self.datum(input)?.as_tensor().ok_or_else(|| OpError::new(format!("input {input} must be a tensor")))
    }

    /// A tensor input, where it is given.
    ///
    /// # Errors
    /// When it is no tensor.
    pub fn try_tensor(&self, input: usize) -> Result<Option<&Tensor>, OpError> {
        self.try_datum(input).map(|_| self.tensor(input)).transpose()
    }

    /// A tensor input whose elements lie dense and aligned, so that [`Tensor::slice`] succeeds on it.
    ///
    /// # Errors
    /// When it is absent, no tensor, or there is no memory for a copy.
    pub fn dense(&self, input: usize) -> Result<Tensor, OpError> {
        let tensor = self.tensor(input)?;
        if tensor.is_dense() || tensor.dtype() == DType::String {
            return Ok(tensor.to_dense()?);
        }
        let mut out = self.scratch(tensor.dtype(), tensor.shape())?;
        tensor.copy_to(&mut out);
        Ok(out.freeze())
    }

    /// Memory for what the kernel needs only while it runs, used again by later calls. What it holds is arbitrary.
    ///
    /// # Errors
    /// When the shape is too large for the budget or memory.
    pub fn scratch(&self, dtype: DType, shape: &[usize]) -> Result<TensorMut, OpError> {
        let bytes = byte_len(dtype, shape)?;
        Ok(TensorMut::over(dtype, shape, self.host.scratch(bytes)?)?)
    }

    /// A tensor input moved out of the call: if nobody else needs it, [`Tensor::into_mut`] works in place.
    ///
    /// # Errors
    /// When it is absent or no tensor.
    pub fn take(&mut self, input: usize) -> Result<Tensor, OpError> {
        self.tensor(input)?;
        match self.take_datum(input) {
            Some(Datum::Tensor(t)) => Ok(t),
            _ => Err(OpError::new(format!("input {input} must be a tensor"))),
        }
    }

    /// An input of any kind moved out of the call, where it is given.
    pub fn take_datum(&mut self, input: usize) -> Option<Datum> {
        match self.inputs.get_mut(input)?.take() {
            None => self.constants.get(input)?.clone(),
            given => given,
        }
    }

    /// The elements of a one-dimensional or scalar integer input (`int64` or `int32`), such as axes or sizes.
    ///
    /// # Errors
    /// When it is absent or of another type.
    pub fn ints(&self, input: usize) -> Result<IntList, OpError> {
        let tensor = self.dense(input)?;
        match tensor.dtype() {
            DType::I64 => Ok(IntList::from_slice(tensor.slice::<i64>()?)),
            DType::I32 => Ok(tensor.slice::<i32>()?.iter().map(|&v| i64::from(v)).collect()),
            other => Err(OpError::new(format!("input {input} must be int64 or int32, but is {other}"))),
        }
    }

    /// Like [`Run::ints`]; `None` where the input is absent.
    ///
    /// # Errors
    /// When it is there and of another type.
    pub fn try_ints(&self, input: usize) -> Result<Option<IntList>, OpError> {
        self.try_datum(input).map(|_| self.ints(input)).transpose()
    }

    /// Memory for output `output`, to be written and given to [`Run::set`]. What it holds is arbitrary: every
    /// element must be written.
    ///
    /// # Errors
    /// When the shape is too large for the budget or memory.
    pub fn allocate(&self, output: usize, dtype: DType, shape: &[usize]) -> Result<TensorMut, OpError> {
        let bytes = byte_len(dtype, shape)?;
        Ok(TensorMut::over(dtype, shape, self.host.allocate(output, bytes)?)?)
    }

    /// Refuses scratch memory of `bytes` that the budget does not allow (`None`: more than can be counted): call it
    /// before the scratch is allocated.
    ///
    /// # Errors
    /// When it is too large for the budget.
    pub fn check_scratch(&self, bytes: Option<usize>) -> Result<(), OpError> {
        let bytes = bytes.ok_or_else(|| OpError::new("the sizes of the inputs are too large"))?;
        self.host.afford(bytes)
    }

    /// As [`Run::check_scratch`] for a tensor of this shape with `bytes` an element, such as one that a kernel makes
    /// by itself.
    ///
    /// # Errors
    /// When it is too large for the budget.
    pub fn check_elements(&self, shape: &[usize], bytes: usize) -> Result<(), OpError> {
        self.check_scratch(shape.iter().try_fold(bytes, |all, &size| all.checked_mul(size)))
    }

    /// As [`Run::allocate`] for the element type of `T`, filled by `write` and set as the output.
    ///
    /// # Errors
    /// Those of [`Run::allocate`] and of `write`.
    pub fn write<T: Element>(
        &mut self,
        output: usize,
        shape: &[usize],
        write: impl FnOnce(&mut [T]) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        let mut out = self.allocate(output, T::DTYPE, shape)?;
        write(out.slice_mut()?)?;
        self.set(output, out.freeze());
        Ok(())
    }

    /// Sets an output; outputs that nobody wants are dropped.
    pub fn set(&mut self, output: usize, value: impl Into<Datum>) {
        if let Some(slot) = self.outputs.get_mut(output) {
            *slot = Some(value.into());
        }
    }

    /// Takes back an output that was set, to be changed and set again.
    pub fn take_output(&mut self, output: usize) -> Option<Datum> {
        self.outputs.get_mut(output)?.take()
    }

    /// The threads for loops inside the kernel.
    pub fn pool(&self) -> &'a Pool {
        self.host.pool()
    }

    /// Whoever runs the kernel, for kernels that run others.
    pub fn host(&self) -> &'a dyn Host {
        self.host
    }

    /// Whether the run may go on; kernels with long loops ask now and then.
    ///
    /// # Errors
    /// When the run was cancelled or ran out of its time.
    pub fn checkpoint(&self) -> Result<(), OpError> {
        self.host.checkpoint()
    }

    /// An empty list for the inputs of a body, which may have been used before.
    pub fn list(&self) -> Vec<Datum> {
        LISTS.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Keeps a list for [`Run::list`].
    pub fn keep(&self, mut list: Vec<Datum>) {
        list.clear();
        LISTS.with_borrow_mut(|lists| {
            if lists.len() < KEPT_LISTS {
                lists.push(list);
            }
        });
    }

    /// Runs a body of the node on its formal inputs, and sets its outputs as those of the node.
    ///
    /// # Errors
    /// Those of the body.
    pub fn pass_on(&mut self, body: usize, inputs: Vec<Datum>) -> Result<(), OpError> {
        let mut made = self.body(body, inputs)?;
        for (output, value) in made.drain(..).enumerate() {
            self.set(output, value);
        }
        self.keep(made);
        Ok(())
    }

    /// Runs a body of the node on its formal inputs.
    ///
    /// # Errors
    /// Those of the body.
    pub fn body(&self, body: usize, inputs: Vec<Datum>) -> Result<Vec<Datum>, OpError> {
        self.host.run_body(body, inputs)
    }

    /// The type of an output of a body of the node, as far as it is known without running it.
    pub fn body_output(&self, body: usize, output: usize) -> Option<Type> {
        self.host.body_output(body, output)
    }
}

/// Lists that a thread keeps for bodies: one for each that is inside of another.
const KEPT_LISTS: usize = 64;

thread_local! {
    static LISTS: RefCell<Vec<Vec<Datum>>> = const { RefCell::new(Vec::new()) };
}
