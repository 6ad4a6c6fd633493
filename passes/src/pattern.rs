//! Patterns: a neighbourhood of nodes as an expression of Rust values.
//!
//! ```
//! use oxidane_passes::pattern::{any, sigmoid};
//! let x = any("x");
//! let silu = x.clone() * sigmoid(x);
//! ```
//!
//! A pattern stands for a value. The same name at two places asks for the same value; `+` and `*` match in
//! either order. The nodes that a pattern goes through may be read only inside the match, unless
//! [`Pattern::shared`] says otherwise, so that replacing the whole leaves nothing to compute twice.

use crate::site::standard;
use crate::{Refused, Rule, Site};
use oxidane_graph::{Attribute, AttributeValue, NodeId, ValueId};
use std::ops::{Add, Div, Mul, Sub};
use std::sync::Arc;

/// What a value may be.
#[derive(Debug, Clone)]
pub struct Pattern {
    form: Arc<Form>,
    name: Option<&'static str>,
}

#[derive(Debug, Clone)]
enum Form {
    Any,
    Constant,
    Scalar(f64),
    Node {
        op: &'static str,
        inputs: Vec<Pattern>,
        commutes: bool,
        attributes: Vec<(&'static str, Attribute)>,
        shared: bool,
    },
    Either(Vec<Pattern>),
}

/// Any value, under a name.
pub fn any(name: &'static str) -> Pattern {
    Pattern { form: Arc::new(Form::Any), name: Some(name) }
}

/// Any constant, under a name.
pub fn constant(name: &'static str) -> Pattern {
    Pattern { form: Arc::new(Form::Constant), name: Some(name) }
}

/// A constant of one element that has this value, up to the precision of its type.
pub fn scalar(value: f64) -> Pattern {
    Pattern { form: Arc::new(Form::Scalar(value)), name: None }
}

/// Output 0 of a standard operator whose first inputs match; the call may have more inputs than the pattern
/// only if they are left out.
pub fn op<const N: usize>(name: &'static str, inputs: [Pattern; N]) -> Pattern {
    node(name, inputs.into(), false)
}

/// Whatever matches one of these, tried in order.
pub fn either<const N: usize>(patterns: [Pattern; N]) -> Pattern {
    Pattern { form: Arc::new(Form::Either(patterns.into())), name: None }
}

fn node(op: &'static str, inputs: Vec<Pattern>, commutes: bool) -> Pattern {
    let form = Form::Node { op, inputs, commutes, attributes: Vec::new(), shared: false };
    Pattern { form: Arc::new(form), name: None }
}

macro_rules! unary {
    ($($name:ident $op:literal)*) => {$(
        #[doc = concat!("`", $op, "` of a value.")]
        pub fn $name(x: Pattern) -> Pattern {
            op($op, [x])
        }
    )*};
}

unary! {
    sigmoid "Sigmoid" sqrt "Sqrt" erf "Erf" tanh "Tanh" exp "Exp" relu "Relu" reciprocal "Reciprocal"
}

macro_rules! operators {
    ($($trait:ident $method:ident $op:literal $commutes:literal)*) => {$(
        impl $trait for Pattern {
            type Output = Pattern;
            fn $method(self, other: Pattern) -> Pattern {
                node($op, vec![self, other], $commutes)
            }
        }

        impl $trait<f64> for Pattern {
            type Output = Pattern;
            fn $method(self, other: f64) -> Pattern {
                node($op, vec![self, scalar(other)], $commutes)
            }
        }

        impl $trait<Pattern> for f64 {
            type Output = Pattern;
            fn $method(self, other: Pattern) -> Pattern {
                node($op, vec![scalar(self), other], $commutes)
            }
        }
    )*};
}

operators! {
    Add add "Add" true
    Mul mul "Mul" true
    Sub sub "Sub" false
    Div div "Div" false
}

impl Pattern {
    /// The same pattern, its value bound to a name.
    pub fn named(mut self, name: &'static str) -> Pattern {
        self.name = Some(name);
        self
    }

    /// The same pattern, whose outermost node must have an attribute of this value. Applies to nodes only.
    pub fn with(mut self, name: &'static str, value: impl AttributeValue) -> Pattern {
        if let Form::Node { attributes, .. } = Arc::make_mut(&mut self.form) {
            attributes.extend(value.to_attribute().map(|v| (name, v)));
        }
        self
    }

    /// The same pattern, whose outermost node may also be read from outside the match. Applies to nodes only.
    pub fn shared(mut self) -> Pattern {
        if let Form::Node { shared, .. } = Arc::make_mut(&mut self.form) {
            *shared = true;
        }
        self
    }

    /// The operators that a match can be rooted at.
    pub fn roots(&self) -> Vec<&'static str> {
        match &*self.form {
            Form::Node { op, .. } => vec![op],
            Form::Either(all) => all.iter().flat_map(Pattern::roots).collect(),
            _ => Vec::new(),
        }
    }

    /// Matches the node of a site, by its output 0.
    ///
    /// # Errors
    /// [`Refused::NoMatch`], or the node that something outside the match reads.
    pub fn find(&self, site: &Site<'_>) -> Result<Match, Refused> {
        self.find_at(site, site.output(0)?)
    }

    /// Matches a value.
    ///
    /// # Errors
    /// [`Refused::NoMatch`], or the node that something outside the match reads.
    pub fn find_at(&self, site: &Site<'_>, value: ValueId) -> Result<Match, Refused> {
        let mut found = Match { root: value, bound: Vec::new(), nodes: Vec::new() };
        if !solve(site, &mut vec![(self, value)], &mut found) {
            return Err(Refused::NoMatch);
        }
        let root = site.graph().value(value).producer();
        for &(id, shared) in &found.nodes {
            if shared || Some(id) == root {
                continue;
            }
            let outside = |v: &&ValueId| {
                let readers = site.graph().value(**v).uses();
                site.graph().is_output(**v) || !readers.iter().all(|u| found.has(u.node))
            };
            if site.graph().node(id).outputs().iter().flatten().any(|v| outside(&v)) {
                return Err(Refused::because(format!(
                    "the result of {} is read elsewhere as well",
                    crate::label(site.graph(), id)
                )));
            }
        }
        Ok(found)
    }
}

/// What a pattern matched.
#[derive(Debug, Clone)]
pub struct Match {
    root: ValueId,
    bound: Vec<(&'static str, ValueId)>,
    nodes: Vec<(NodeId, bool)>,
}

impl Match {
    /// The value that matched the whole.
    pub fn root(&self) -> ValueId {
        self.root
    }

    /// The value of a name.
    ///
    /// # Errors
    /// [`Refused::NoMatch`] where no such name was met.
    pub fn value(&self, name: &str) -> Result<ValueId, Refused> {
        self.bound.iter().find(|b| b.0 == name).map(|b| b.1).ok_or(Refused::NoMatch)
    }

    /// The node that makes the value of a name.
    ///
    /// # Errors
    /// [`Refused::NoMatch`] where no such name was met or no node makes it.
    pub fn node(&self, site: &Site<'_>, name: &str) -> Result<NodeId, Refused> {
        site.graph().value(self.value(name)?).producer().ok_or(Refused::NoMatch)
    }

    /// The nodes of the match, outermost first.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().map(|n| n.0)
    }

    fn has(&self, id: NodeId) -> bool {
        self.nodes.iter().any(|n| n.0 == id)
    }
}

/// Meets all goals or restores `found`. It goes as deep as patterns nest, which models have no influence on.
fn solve(site: &Site<'_>, goals: &mut Vec<(&Pattern, ValueId)>, found: &mut Match) -> bool {
    let Some((pattern, value)) = goals.pop() else { return true };
    let (bound, nodes) = (found.bound.len(), found.nodes.len());
    let mut met = true;
    if let Some(name) = pattern.name {
        match found.bound.iter().find(|b| b.0 == name) {
            Some(&(_, other)) => met = other == value,
            None => found.bound.push((name, value)),
        }
    }
    met = met && solve_form(site, &pattern.form, value, goals, found);
    if !met {
        found.bound.truncate(bound);
        found.nodes.truncate(nodes);
        goals.push((pattern, value));
    }
    met
}

fn solve_form<'p>(
    site: &Site<'_>,
    form: &'p Form,
    value: ValueId,
    goals: &mut Vec<(&'p Pattern, ValueId)>,
    found: &mut Match,
) -> bool {
    match form {
        Form::Any => solve(site, goals, found),
        Form::Constant => site.constant(value).is_some() && solve(site, goals, found),
        Form::Scalar(wanted) => {
            let close = |v: f64| v == *wanted || (v - wanted).abs() <= 1e-6 * wanted.abs();
            site.scalar(value).is_some_and(close) && solve(site, goals, found)
        }
        Form::Either(all) => all.iter().any(|one| {
            goals.push((one, value));
            let met = solve(site, goals, found);
            if !met {
                goals.pop();
            }
            met
        }),
        Form::Node { op, inputs, commutes, attributes, shared } => {
            let Some(id) = site.graph().value(value).producer() else { return false };
            let node = site.graph().node(id);
            let given = node.inputs();
            let fits = standard(node) == Some(op)
                && node.output(0) == Some(value)
                && given.len() >= inputs.len()
                && given[inputs.len()..].iter().all(Option::is_none);
            if !fits {
                return false;
            }
            if !attributes.is_empty() {
                let has = node.op().attributes();
                if !attributes.iter().all(|(name, value)| has.get(name) == Some(value)) {
                    return false;
                }
            }
            let Some(read) = given[..inputs.len()].iter().copied().collect::<Option<Vec<ValueId>>>() else {
                return false;
            };
            found.nodes.push((id, *shared));
            let orders = if *commutes && read.len() == 2 { 2 } else { 1 };
            for turn in 0..orders {
                let depth = goals.len();
                for (i, pattern) in inputs.iter().enumerate().rev() {
                    goals.push((pattern, read[if turn == 1 { 1 - i } else { i }]));
                }
                if solve(site, goals, found) {
                    return true;
                }
                goals.truncate(depth);
            }
            found.nodes.pop();
            false
        }
    }
}

/// A fusion: where the pattern matches, `build` makes one value that replaces the whole.
pub struct Fusion {
    name: &'static str,
    doc: &'static str,
    pattern: Pattern,
    roots: Vec<&'static str>,
    build: fn(&mut Site<'_>, &Match) -> Result<ValueId, Refused>,
}

impl Fusion {
    /// A fusion of this name.
    pub fn new(
        name: &'static str,
        doc: &'static str,
        pattern: Pattern,
        build: fn(&mut Site<'_>, &Match) -> Result<ValueId, Refused>,
    ) -> Fusion {
        Fusion { name, doc, roots: pattern.roots(), pattern, build }
    }
}

impl Rule for Fusion {
    fn name(&self) -> &'static str {
        self.name
    }

    fn doc(&self) -> &'static str {
        self.doc
    }

    fn roots(&self) -> &[&'static str] {
        &self.roots
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let found = self.pattern.find(site)?;
        let made = (self.build)(site, &found)?;
        site.replace(found.root(), made)
    }
}
