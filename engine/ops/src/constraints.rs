//! Which types each version of each standard operator takes, where the rooms know those of the newest only.
//!
//! `constraints.tsv` holds them as the schemas of onnx 1.23 state them; `tools/conformance/constraints.py` writes it.

use oxidane_graph::Type;
use oxidane_tensor::DType;
use std::collections::HashMap;
use std::sync::OnceLock;

/// An input or output of a call, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// An input.
    Input(usize),
    /// An output.
    Output(usize),
}

struct Params {
    sets: Vec<usize>,
    repeats: bool,
}

impl Params {
    fn parse(text: &str) -> Params {
        let (list, repeats) = match text.strip_suffix('+') {
            Some(list) => (list, true),
            None => (text, false),
        };
        Params { sets: list.split(',').filter_map(|n| n.parse().ok()).collect(), repeats }
    }

    fn set(&self, index: usize) -> Option<usize> {
        self.sets.get(index).or_else(|| self.sets.last().filter(|_| self.repeats)).copied()
    }
}

struct Version {
    since: i64,
    inputs: Params,
    outputs: Params,
}

struct Table {
    sets: Vec<Vec<&'static str>>,
    /// The versions of each operator, the oldest first.
    operators: HashMap<(&'static str, &'static str), Vec<Version>>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let (sets, rows) = include_str!("constraints.tsv").split_once("\n\n").unwrap_or_default();
        let mut operators: HashMap<_, Vec<Version>> = HashMap::new();
        for row in rows.lines() {
            let mut cells = row.split('\t');
            let mut cell = || cells.next().unwrap_or_default();
            let (domain, name) = (cell(), cell());
            let since = cell().parse().unwrap_or_default();
            let version = Version { since, inputs: Params::parse(cell()), outputs: Params::parse(cell()) };
            operators.entry((domain, name)).or_default().push(version);
        }
        Table { sets: sets.lines().map(|set| set.split(' ').collect()).collect(), operators }
    })
}

/// A type as the schemas spell it.
fn spelled(ty: &Type) -> String {
    match ty {
        Type::Tensor(t) => format!("tensor({})", t.dtype.name()),
        Type::SparseTensor(t) => format!("sparse_tensor({})", t.dtype.name()),
        Type::Sequence(item) => format!("seq({})", spelled(item)),
        Type::Optional(item) => format!("optional({})", spelled(item)),
        Type::Map { key, value } => format!("map({},{})", key.name(), spelled(value)),
        Type::Opaque { .. } => "opaque".to_owned(),
    }
}

/// Whether an operator takes or makes a type at a place in an opset; `None` where the operator or the place is not
/// known there.
pub fn allows(domain: &str, name: &str, opset: i64, place: Place, ty: &Type) -> Option<bool> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    let table = table();
    let version = table.operators.get(&(domain, name))?.iter().rfind(|v| v.since <= opset)?;
    let set = match place {
        Place::Input(i) => version.inputs.set(i),
        Place::Output(i) => version.outputs.set(i),
    }?;
    Some(table.sets[set].contains(&spelled(ty).as_str()))
}

/// The first opset later than `opset` in which an operator takes a type at a place.
pub fn first_after(domain: &str, name: &str, opset: i64, place: Place, ty: &Type) -> Option<i64> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    let versions = table().operators.get(&(domain, name))?;
    let later = versions.iter().map(|v| v.since).filter(|&since| since > opset);
    later.into_iter().find(|&since| allows(domain, name, since, place, ty) == Some(true))
}

/// The first opset in which an operator takes `dtype` in every place in which its newest version does and takes
/// `than` as well; `None` where it never does.
pub fn first_like(domain: &str, name: &str, dtype: DType, than: DType) -> Option<i64> {
    let table = table();
    let versions = table.operators.get(&(domain, name))?;
    let (wanted, than) = (format!("tensor({})", dtype.name()), format!("tensor({})", than.name()));
    let newest = versions.last()?;
    let has = |set: usize, ty: &str| table.sets[set].contains(&ty);
    let places = |v: &Version| -> Vec<(Place, usize)> {
        let inputs = v.inputs.sets.iter().enumerate().map(|(i, &set)| (Place::Input(i), set));
        inputs.chain(v.outputs.sets.iter().enumerate().map(|(i, &set)| (Place::Output(i), set))).collect()
    };
    let both: Vec<Place> = (places(newest).into_iter())
        .filter(|(_, set)| has(*set, &wanted) && has(*set, &than))
        .map(|(place, _)| place)
        .collect();
    if both.is_empty() {
        return None;
    }
    // Places that an older version does not have do not count.
    let fits = |v: &Version| {
        let own: HashMap<Place, usize> = places(v).into_iter().collect();
        both.iter().all(|place| own.get(place).is_none_or(|&set| !has(set, &than) || has(set, &wanted)))
    };
    versions.iter().rev().take_while(|v| fits(v)).last().map(|v| v.since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_versions() {
        let of = |dtype| Type::unranked(dtype);
        let x = Place::Input(0);
        assert_eq!(allows("", "Add", 11, x, &of(DType::U16)), Some(false));
        assert_eq!(allows("", "Add", 14, x, &of(DType::U16)), Some(true));
        assert_eq!(first_after("", "Add", 7, x, &of(DType::U16)), Some(14));
        assert_eq!(allows("", "Gelu", 19, x, &of(DType::F32)), None);
        assert_eq!(allows("", "Concat", 13, Place::Input(7), &of(DType::F32)), Some(true));
        let list = Type::Sequence(Box::new(of(DType::F32)));
        assert_eq!(allows("", "Loop", 12, Place::Input(2), &list), Some(false));
        assert_eq!(allows("", "Loop", 13, Place::Input(2), &list), Some(true));
        let map = Type::Map { key: DType::I64, value: Box::new(of(DType::F32)) };
        assert_eq!(allows("ai.onnx.ml", "CastMap", 1, x, &map), Some(true));
    }

    #[test]
    fn narrow_floats_came_later() {
        let half = |name| first_like("", name, DType::F16, DType::F32);
        assert_eq!(
            (half("Conv"), half("CumSum"), half("Range"), half("Celu")),
            (Some(1), Some(14), Some(27), Some(28))
        );
        let brain = |name| first_like("", name, DType::BF16, DType::F32);
        assert_eq!((brain("Conv"), brain("Relu"), brain("Where")), (Some(22), Some(13), Some(16)));
        assert_eq!(first_like("", "StringConcat", DType::F16, DType::F32), None);
    }
}
