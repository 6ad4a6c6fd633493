//! What a room is made of, and the macros that declare one.

use crate::{Case, Draft};
use oxidane_graph::{Attributes, Op, OpError, Signature};
use std::sync::Arc;

/// All that is known of one operator outside its [`Op`]: how it is spelled in files of every opset, and samples.
#[derive(Clone, Copy)]
pub struct Room {
    /// The domain; empty for ONNX's own.
    pub domain: &'static str,
    /// The name of the operator.
    pub name: &'static str,
    /// The opsets in which the schema changed, oldest first; the last is the form that the room works with.
    pub since: &'static [i64],
    /// The formal inputs and outputs of the newest form.
    pub signature: &'static Signature,
    /// Makes the operator from the attributes of the newest form.
    pub read: fn(&Attributes) -> Result<Arc<dyn Op>, OpError>,
    /// The changes of meaning between versions, oldest first. Versions that only widen the types need none.
    pub steps: &'static [Step],
    /// Samples that the generic suites run; at least one. They are built with the feature `cases` only.
    pub cases: fn() -> Vec<Case>,
}

/// A change of an operator's form from one version to the next.
#[derive(Clone, Copy)]
pub struct Step {
    /// The opset that brought the change: `up` makes its form from the one before, `down` the one before from its.
    pub to: i64,
    /// From the older form to that of `to`.
    pub up: fn(&mut Draft<'_>) -> Result<(), OpError>,
    /// From the form of `to` to the older one; an error says what the older form cannot express.
    pub down: fn(&mut Draft<'_>) -> Result<(), OpError>,
}

impl Room {
    /// The version of the schema that is in force in an opset; `None` where the operator does not exist yet.
    pub fn version_at(&self, opset: i64) -> Option<i64> {
        self.since.iter().copied().rfind(|&v| v <= opset)
    }

    /// The version that the room works with.
    pub fn newest(&self) -> i64 {
        self.since.last().copied().unwrap_or(1)
    }

    /// Brings a draft of `opset` to the newest form.
    ///
    /// # Errors
    /// When the operator does not exist in that opset, or a step cannot be taken.
    pub fn upgrade(&self, draft: &mut Draft<'_>, opset: i64) -> Result<(), OpError> {
        let version = self.version_at(opset).ok_or_else(|| {
            OpError::new(format!("operator {} does not exist in opset {opset}", self.name)).help(format!(
                "it came with opset {}; raise the model's opset_import",
                self.since.first().copied().unwrap_or(1)
            ))
        })?;
        for step in self.steps.iter().filter(|s| s.to > version) {
            (step.up)(draft)?;
        }
        Ok(())
    }

    /// Brings a draft of the newest form to that of `opset`.
    ///
    /// # Errors
    /// When the operator does not exist there, or its form cannot express the draft.
    pub fn downgrade(&self, draft: &mut Draft<'_>, opset: i64) -> Result<(), OpError> {
        let version = self.version_at(opset).ok_or_else(|| {
            OpError::new(format!("operator {} does not exist in opset {opset}", self.name))
                .help(format!("export to opset {} or later", self.since.first().copied().unwrap_or(1)))
        })?;
        for step in self.steps.iter().rev().filter(|s| s.to > version) {
            (step.down)(draft)?;
        }
        Ok(())
    }
}

/// Begins what gives sample cases: without the feature `cases` there are none, and the compiler drops what follows.
macro_rules! with_cases {
    () => {
        if !cfg!(feature = "cases") {
            return Vec::new();
        }
    };
}
pub(crate) use with_cases;

/// Declares the operator type of a room: a struct whose fields are the attributes of the newest schema, with
/// [`crate::Form`] for reading and writing them. `= value` gives the default, `: Option<T>` an attribute that
/// may be absent; any other field is required.
///
/// ```ignore
/// attributes! {
///     /// Softmax along one axis.
///     pub struct Softmax { axis: i64 = -1 }
/// }
/// ```
#[macro_export]
macro_rules! attributes {
    ($(#[$doc:meta])* $vis:vis struct $name:ident {
        $( $(#[$fdoc:meta])* $field:ident : $ty:ty $(= $default:expr)? ),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $( $(#[$fdoc])* #[doc = concat!("The attribute `", stringify!($field), "`.")] pub $field: $ty, )*
        }

        impl $crate::Form for $name {
            #[allow(unused_variables, reason = "an operator may have no attributes")]
            fn read(attributes: &oxidane_graph::Attributes) -> Result<Self, oxidane_graph::OpError> {
                $crate::room::only(attributes, &[$(stringify!($field)),*])?;
                Ok($name {
                    $( $field: $crate::attributes!(@read attributes, $field, $ty $(, $default)?), )*
                })
            }

            fn write(&self) -> oxidane_graph::Attributes {
                #[allow(unused_mut, reason = "an operator may have no attributes")]
                let mut attributes = oxidane_graph::Attributes::new();
                $( attributes.set($crate::room::spelled(stringify!($field)), self.$field.clone()); )*
                attributes
            }
        }
    };
    (@read $from:ident, $field:ident, Option<$ty:ty>) => { $from.value::<$ty>($crate::room::spelled(stringify!($field)))? };
    (@read $from:ident, $field:ident, $ty:ty, $default:expr) => {
        match $from.value::<$ty>($crate::room::spelled(stringify!($field)))? {
            Some(value) => value,
            None => $default,
        }
    };
    (@read $from:ident, $field:ident, $ty:ty) => {
        $crate::room::read_or_require::<$ty>($from, $crate::room::spelled(stringify!($field)))?
    };
}

/// Inside `impl Op for ...`: the methods that every room with a static `ROOM` and a [`Form`] answers alike.
#[macro_export]
macro_rules! of_room {
    () => {
        fn domain(&self) -> &str {
            ROOM.domain
        }

        fn name(&self) -> &str {
            ROOM.name
        }

        fn attributes(&self) -> oxidane_graph::Attributes {
            $crate::Form::write(self)
        }

        fn signature(&self) -> Option<&'static oxidane_graph::Signature> {
            Some(ROOM.signature)
        }
    };
}

/// Reads and writes the attributes of an operator type; made by [`attributes!`].
pub trait Form: Sized {
    /// From ONNX's attributes of the newest schema.
    ///
    /// # Errors
    /// When one is missing, of the wrong kind, or not an attribute of the operator.
    fn read(attributes: &Attributes) -> Result<Self, OpError>;

    /// To ONNX's attributes, those at their default included.
    fn write(&self) -> Attributes;
}

/// Refuses attributes that the operator does not have.
#[doc(hidden)]
pub fn only(attributes: &Attributes, known: &[&'static str]) -> Result<(), OpError> {
    let known: Vec<&str> = known.iter().map(|k| spelled(k)).collect();
    match attributes.iter().find(|(name, _)| !known.contains(name)) {
        None => Ok(()),
        Some((name, _)) => Err(OpError::new(format!("attribute `{name}` is not one of this operator")).help(
            if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) },
        )),
    }
}

/// The ONNX spelling of a field: names that are Rust keywords are written `r#else` or with a final underscore.
#[doc(hidden)]
pub fn spelled(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field).trim_end_matches('_')
}

/// Reads a required attribute, or an optional one into an `Option`.
#[doc(hidden)]
pub fn read_or_require<T: Required>(attributes: &Attributes, name: &str) -> Result<T, OpError> {
    T::read(attributes, name)
}

/// How a field without default is read: an `Option` may be absent, anything else may not.
#[doc(hidden)]
pub trait Required: Sized {
    fn read(attributes: &Attributes, name: &str) -> Result<Self, OpError>;
}

macro_rules! required {
    ($($t:ty),*) => {$(
        impl Required for $t {
            fn read(attributes: &Attributes, name: &str) -> Result<Self, OpError> {
                attributes
                    .value(name)?
                    .ok_or_else(|| OpError::new(format!("attribute `{name}` is required but missing")))
            }
        }
    )*};
}
required!(
    f32,
    i64,
    bool,
    oxidane_tensor::DType,
    String,
    oxidane_tensor::Tensor,
    Vec<f32>,
    Vec<i64>,
    Vec<String>
);

impl<T: oxidane_graph::AttributeValue> Required for Option<T> {
    fn read(attributes: &Attributes, name: &str) -> Result<Self, OpError> {
        attributes.value(name)
    }
}
