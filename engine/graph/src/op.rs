use crate::{
    Attribute, Attributes, Build, Call, InferCtx, Kernel, NodeId, OpError, Signature, Unknown, ValueId,
};
use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

/// What a node computes: an operator of the newest opset with its attributes as typed fields.
///
/// The graph, the passes and the runtime know operators only through this trait; each is implemented in its
/// own room, and [`Opaque`] stands for those that no room knows. All methods but the first three have a
/// default that says "nothing known", so that a room states only what there is.
pub trait Op: Any + Debug + Send + Sync {
    /// The domain; empty for ONNX's own.
    fn domain(&self) -> &str;

    /// The name of the operator in its domain, spelled as in ONNX.
    fn name(&self) -> &str;

    /// The attributes in ONNX's terms, those at their default included. Two ops of the same name with equal
    /// attributes compute the same.
    fn attributes(&self) -> Attributes;

    /// The attribute names of the bodies that a node of this op keeps, in the order of the bodies.
    fn body_names(&self) -> &[&str] {
        &[]
    }

    /// The op for a node that has only these of its bodies, in the order of [`Op::body_names`]; `None` where all
    /// are needed.
    fn with_bodies(&self, given: &[&str]) -> Option<Arc<dyn Op>> {
        let _ = given;
        None
    }

    /// The formal inputs and outputs; `None` where they are not known.
    fn signature(&self) -> Option<&'static Signature> {
        None
    }

    /// Works out the types of the outputs, and the values of small integer tensors that shapes are made of.
    /// Inputs have been checked against the signature before.
    ///
    /// # Errors
    /// [`Unknown::Because`] where the inputs do not tell; [`Unknown::Wrong`] where they are at fault.
    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let _ = ctx;
        Err(Unknown::Because(format!("nothing is known of operator {}", self.name())))
    }

    /// Chooses a kernel for a call of these types.
    ///
    /// # Errors
    /// Names the op or the type that has no kernel.
    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let _ = call;
        Err(OpError::unsupported(format!("operator {} cannot be run", qualified(self.domain(), self.name()))))
    }

    /// Whether equal inputs give equal outputs and nothing else happens: such nodes may be folded, merged
    /// and dropped. Random operators say no.
    fn is_pure(&self) -> bool {
        true
    }

    /// The inputs whose memory output 0 may take over, best first: the kernel then works in place.
    fn in_place(&self) -> &[usize] {
        &[]
    }

    /// The inputs whose constants the kernel keeps in a form of its own: it is given them as they lie in the file,
    /// perhaps unaligned, when it is chosen, and does not see them when it runs.
    fn packs(&self) -> &[usize] {
        &[]
    }

    /// The gradient with respect to each input, from those of the outputs (`None` is zero), emitted as
    /// standard operators; `None` for an input that carries no derivative.
    ///
    /// # Errors
    /// Where the op has no rule, or not for this call.
    fn gradient(
        &self,
        build: &mut Build<'_>,
        node: NodeId,
        outputs: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, OpError> {
        let _ = (build, node, outputs);
        Err(OpError::unsupported(format!("operator {} has no gradient rule", self.name())))
    }

    /// The outputs computed by simpler standard operators, where the specification (or, for ops outside the
    /// standard, the room) has such a form for this call.
    ///
    /// # Errors
    /// Where the form exists but not for this call.
    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let _ = (build, node);
        Ok(None)
    }

    /// Whether the kernel does nothing but run what [`Op::expand`] gives: a plan then puts the expansion in the
    /// node's place, where the types allow it.
    fn runs_expanded(&self) -> bool {
        false
    }
}

impl dyn Op {
    /// The op as the type of its room, where it is that.
    pub fn downcast<T: Op>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }

    /// Whether it is of the room `T`.
    pub fn is<T: Op>(&self) -> bool {
        self.downcast::<T>().is_some()
    }
}

/// `domain.name`, or the name alone in ONNX's own domain.
pub fn qualified(domain: &str, name: &str) -> String {
    match domain {
        "" | "ai.onnx" => name.to_owned(),
        _ => format!("{domain}.{name}"),
    }
}

/// An operator that no room knows: it keeps everything that the file said and goes back as it came.
/// It fails, with its name and place, only when something must run it.
#[derive(Debug, Clone)]
pub struct Opaque {
    /// The domain as written in the file.
    pub domain: String,
    /// The name of the operator.
    pub name: String,
    /// The overload, for model-local functions.
    pub overload: String,
    /// The opset of its domain in the file; 0 where the file imports none.
    pub opset: i64,
    /// All attributes but the graphs.
    pub attributes: Vec<(Arc<str>, Attribute)>,
    /// The attribute names of the bodies; a list of graphs repeats its name.
    pub bodies: Vec<&'static str>,
    /// Why no room could take it, such as a bad attribute; empty where the operator is simply not known.
    pub reason: String,
}

impl Op for Opaque {
    fn domain(&self) -> &str {
        &self.domain
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn attributes(&self) -> Attributes {
        self.attributes.iter().fold(Attributes::new(), |all, (name, value)| all.with(name, value.clone()))
    }

    fn body_names(&self) -> &[&str] {
        &self.bodies
    }

    fn infer(&self, _: &mut InferCtx<'_>) -> Result<(), Unknown> {
        Err(Unknown::Because(format!("operator {} is not known", qualified(&self.domain, &self.name))))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let name = qualified(&self.domain, &self.name);
        if !self.reason.is_empty() {
            return Err(OpError::new(format!("operator {name} cannot be run: {}", self.reason)));
        }
        Err(OpError::unsupported(format!("operator {name} (opset {}) is not supported", self.opset))
            .help("replace it by standard operators or define it as a model-local function"))
    }

    fn is_pure(&self) -> bool {
        false
    }
}
