//! Symbolic sizes: canonical integer expressions, interned, so that equal sizes are the same [`Dim`].

use std::collections::HashMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// A size that may depend on symbols: a known number, or an expression such as `2*n+1` or `floor(n/2)`.
///
/// Equal expressions have equal ids: `(n+n)*2 == 4*n` holds by comparing two words. Symbols stand for sizes, so
/// they are taken to be zero or more. An expression that would grow beyond a bound is kept unexpanded, so that
/// no model makes arithmetic on sizes expensive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim(Repr);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Known(i64),
    Expr(u32),
}

/// A sum of terms, each an integer times a product of atoms, and a constant. Terms and factors are sorted.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Sum {
    terms: Vec<(Vec<Atom>, i64)>,
    constant: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Atom {
    Symbol(u32),
    FloorDiv(Dim, Dim),
    Max(Dim, Dim),
    Min(Dim, Dim),
    /// A product or sum kept as it is because expanding it would grow too large or overflow.
    Product(Dim, Dim),
    Addition(Dim, Dim),
}

impl Atom {
    /// As [`Dim::least`].
    fn least(self, nested: u32) -> Option<i64> {
        let nested = nested.checked_sub(1)?;
        match self {
            Atom::Symbol(_) => Some(0),
            Atom::Max(a, b) => match (a.least(nested), b.least(nested)) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            },
            Atom::Min(a, b) => Some(a.least(nested)?.min(b.least(nested)?)),
            Atom::FloorDiv(a, b) => {
                let by = b.as_known().filter(|&b| b > 0)?;
                Some(a.least(nested)?.div_euclid(by))
            }
            Atom::Product(..) | Atom::Addition(..) => None,
        }
    }
}

/// More terms or factors than this are not expanded.
const MAX_TERMS: usize = 24;

/// Expressions that nest deeper than this become sizes of which nothing is known.
const MAX_DEPTH: u32 = 32;

/// Bounds are looked for so many levels deep.
const NESTED: u32 = 3;

/// Display writes an ellipsis for what nests deeper than this.
const MAX_SHOWN_DEPTH: u32 = 2;

#[derive(Default)]
struct Interner {
    sums: Vec<(Arc<Sum>, u32)>,
    by_sum: HashMap<Arc<Sum>, u32>,
    symbols: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, u32>,
}

static INTERNER: LazyLock<RwLock<Interner>> = LazyLock::new(RwLock::default);

fn read() -> std::sync::RwLockReadGuard<'static, Interner> {
    INTERNER.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> std::sync::RwLockWriteGuard<'static, Interner> {
    INTERNER.write().unwrap_or_else(PoisonError::into_inner)
}

impl Dim {
    /// A known size (or any known integer, in shape arithmetic).
    pub const fn known(value: i64) -> Dim {
        Dim(Repr::Known(value))
    }

    /// The size named `name`; the same name is the same size.
    pub fn symbol(name: &str) -> Dim {
        let known = read().by_name.get(name).copied();
        let id = known.unwrap_or_else(|| {
            let mut interner = write();
            if let Some(&id) = interner.by_name.get(name) {
                return id;
            }
            let id = interner.symbols.len() as u32;
            let name: Arc<str> = Arc::from(name);
            interner.symbols.push(name.clone());
            interner.by_name.insert(name, id);
            id
        });
        Dim::atom(Atom::Symbol(id))
    }

    /// A size of which nothing is known, told apart by `hint`, such as the value and axis it belongs to.
    /// It is a symbol whose name starts with `?`; export leaves it blank.
    pub fn unknown(hint: &str) -> Dim {
        Dim::symbol(&format!("?{hint}"))
    }

    /// The number, where it is known.
    pub fn as_known(self) -> Option<i64> {
        match self.0 {
            Repr::Known(n) => Some(n),
            Repr::Expr(_) => None,
        }
    }

    /// The number as a size, where it is known and not negative.
    pub fn as_size(self) -> Option<usize> {
        self.as_known().and_then(|n| usize::try_from(n).ok())
    }

    /// The name, where the expression is a single symbol.
    pub fn as_symbol(self) -> Option<Arc<str>> {
        match self.only_atom()? {
            Atom::Symbol(id) => read().symbols.get(id as usize).cloned(),
            _ => None,
        }
    }

    /// Whether this is a size of which nothing is known (see [`Dim::unknown`]), or depends on one.
    pub fn is_unknown(self) -> bool {
        self.symbols().iter().any(|s| s.starts_with('?'))
    }

    /// The names of all symbols inside, sorted.
    pub fn symbols(self) -> Vec<Arc<str>> {
        let mut found = std::collections::BTreeSet::new();
        let mut todo = vec![self];
        let mut seen = std::collections::HashSet::new();
        while let Some(dim) = todo.pop() {
            let Some(sum) = dim.sum_if_expr().filter(|_| seen.insert(dim)) else { continue };
            for atom in sum.terms.iter().flat_map(|(atoms, _)| atoms) {
                match *atom {
                    Atom::Symbol(id) => found.extend(read().symbols.get(id as usize).cloned()),
                    Atom::FloorDiv(a, b)
                    | Atom::Max(a, b)
                    | Atom::Min(a, b)
                    | Atom::Product(a, b)
                    | Atom::Addition(a, b) => todo.extend([a, b]),
                }
            }
        }
        found.into_iter().collect()
    }

    /// The expression with every symbol that `value` knows replaced by its number.
    pub fn substitute(self, value: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        let mut done = HashMap::new();
        self.substitute_into(value, &mut done)
    }

    /// Expressions nest only as deep as their construction, one level an arithmetic step; the memo keeps
    /// shared parts from being visited twice.
    fn substitute_into(self, value: &dyn Fn(&str) -> Option<Dim>, done: &mut HashMap<Dim, Dim>) -> Dim {
        let Some(sum) = self.sum_if_expr() else { return self };
        if let Some(&dim) = done.get(&self) {
            return dim;
        }
        let mut total = Dim::known(sum.constant);
        for (atoms, factor) in &sum.terms {
            let mut product = Dim::known(*factor);
            for &atom in atoms {
                let factor = match atom {
                    Atom::Symbol(id) => {
                        let name = read().symbols.get(id as usize).cloned();
                        name.and_then(|n| value(&n)).unwrap_or_else(|| Dim::atom(atom))
                    }
                    Atom::FloorDiv(a, b) => {
                        a.substitute_into(value, done).floor_div(b.substitute_into(value, done))
                    }
                    Atom::Max(a, b) => a.substitute_into(value, done).max(b.substitute_into(value, done)),
                    Atom::Min(a, b) => a.substitute_into(value, done).min(b.substitute_into(value, done)),
                    Atom::Product(a, b) => a.substitute_into(value, done) * b.substitute_into(value, done),
                    Atom::Addition(a, b) => a.substitute_into(value, done) + b.substitute_into(value, done),
                };
                product = product * factor;
            }
            total = total + product;
        }
        done.insert(self, total);
        total
    }

    /// The quotient rounded down. A divisor of zero is kept as it is and never known.
    pub fn floor_div(self, by: Dim) -> Dim {
        match (self.0, by.0) {
            (Repr::Known(a), Repr::Known(b)) if b != 0 => {
                if let Some(q) = a.checked_div(b) {
                    let exact = q.checked_mul(b) == Some(a);
                    return Dim::known(if !exact && (a < 0) != (b < 0) { q - 1 } else { q });
                }
            }
            (_, Repr::Known(1)) => return self,
            _ => {}
        }
        if let Some(q) = self.divide_exactly(by) {
            return q;
        }
        if let (Some(sum), Some(d)) = (self.sum_if_expr(), by.as_known().filter(|&d| d > 1)) {
            // floor((d*a + r) / d) = a + floor(r / d)
            let (whole, rest): (Vec<_>, Vec<_>) = sum.terms.iter().cloned().partition(|(_, f)| f % d == 0);
            let constant = sum.constant.div_euclid(d);
            if !whole.is_empty() || constant != 0 {
                let whole = whole.into_iter().map(|(a, f)| (a, f / d)).collect();
                let rest = Dim::intern(Sum { terms: rest, constant: sum.constant.rem_euclid(d) });
                return Dim::intern(Sum { terms: whole, constant }) + rest.floor_div(by);
            }
        }
        Dim::atom(Atom::FloorDiv(self, by))
    }

    /// The quotient rounded up, for a positive divisor.
    pub fn ceil_div(self, by: Dim) -> Dim {
        (self + by - Dim::known(1)).floor_div(by)
    }

    /// The quotient, where the divisor divides every term.
    pub fn divide_exactly(self, by: Dim) -> Option<Dim> {
        if by == Dim::known(0) {
            return None;
        }
        if self == by {
            return Some(Dim::known(1));
        }
        let (a, b) = (self.to_sum(), by.to_sum());
        let (atoms, factor) = match (b.terms.as_slice(), b.constant) {
            ([], c) => (Vec::new(), c),
            ([(atoms, f)], 0) => (atoms.clone(), *f),
            _ => return None,
        };
        if !atoms.is_empty() && a.constant != 0 || a.constant.checked_rem(factor)? != 0 {
            return None;
        }
        let mut terms = Vec::with_capacity(a.terms.len());
        for (product, f) in &a.terms {
            let mut rest = product.clone();
            for atom in &atoms {
                let at = rest.iter().position(|x| x == atom)?;
                rest.remove(at);
            }
            if f.checked_rem(factor)? != 0 {
                return None;
            }
            terms.push((rest, f.checked_div(factor)?));
        }
        let mut constant = a.constant.checked_div(factor)?;
        if let Some(at) = terms.iter().position(|(rest, _)| rest.is_empty()) {
            constant = constant.checked_add(terms.remove(at).1)?;
        }
        terms.sort();
        Some(Dim::intern(Sum { terms, constant }))
    }

    /// The larger of the two.
    pub fn max(self, other: Dim) -> Dim {
        if (self - other).least(NESTED).is_some_and(|d| d >= 0) {
            return self;
        }
        if (other - self).least(NESTED).is_some_and(|d| d >= 0) {
            return other;
        }
        // max(a, min(a, b)) = a
        match (self.only_atom(), other.only_atom()) {
            (_, Some(Atom::Min(a, b))) if a == self || b == self => return self,
            (Some(Atom::Min(a, b)), _) if a == other || b == other => return other,
            _ => {}
        }
        let (a, b) = if self <= other { (self, other) } else { (other, self) };
        Dim::atom(Atom::Max(a, b))
    }

    /// The smaller of the two.
    pub fn min(self, other: Dim) -> Dim {
        if (other - self).least(NESTED).is_some_and(|d| d >= 0) {
            return self;
        }
        if (self - other).least(NESTED).is_some_and(|d| d >= 0) {
            return other;
        }
        // min(a, max(a, b)) = a
        match (self.only_atom(), other.only_atom()) {
            (_, Some(Atom::Max(a, b))) if a == self || b == self => return self,
            (Some(Atom::Max(a, b)), _) if a == other || b == other => return other,
            _ => {}
        }
        let (a, b) = if self <= other { (self, other) } else { (other, self) };
        Dim::atom(Atom::Min(a, b))
    }

    /// Whether the expression is zero or more whatever its symbols are, as far as a short look tells.
    pub fn is_size(self) -> bool {
        self.least(NESTED).is_some_and(|least| least >= 0)
    }

    /// A lower bound for all sizes that the symbols may be; looks `nested` levels into divisions and the like.
    fn least(self, nested: u32) -> Option<i64> {
        if let Repr::Known(n) = self.0 {
            return Some(n);
        }
        let sum = self.sum_if_expr()?;
        let mut total = sum.constant;
        for (atoms, factor) in &sum.terms {
            let least = match atoms.as_slice() {
                [atom] => atom.least(nested)?,
                // Of a product of several atoms it is only known that it is not negative, if none of them is.
                many if many.iter().all(|a| a.least(nested).is_some_and(|n| n >= 0)) => 0,
                _ => return None,
            };
            if *factor < 0 {
                return None;
            }
            total = total.checked_add(least.checked_mul(*factor)?)?;
        }
        Some(total)
    }

    fn atom(atom: Atom) -> Dim {
        let deepest = match atom {
            Atom::Symbol(_) => 0,
            Atom::FloorDiv(a, b)
            | Atom::Max(a, b)
            | Atom::Min(a, b)
            | Atom::Product(a, b)
            | Atom::Addition(a, b) => u32::max(a.depth(), b.depth()),
        };
        if deepest >= MAX_DEPTH {
            return Dim::unknown(&format!("deep:{atom:?}"));
        }
        Dim::intern(Sum { terms: vec![(vec![atom], 1)], constant: 0 })
    }

    /// How deep divisions, products and the like nest inside.
    fn depth(self) -> u32 {
        match self.0 {
            Repr::Known(_) => 0,
            Repr::Expr(id) => read().sums.get(id as usize).map_or(0, |(_, depth)| *depth),
        }
    }

    fn only_atom(self) -> Option<Atom> {
        let sum = self.sum_if_expr()?;
        match sum.terms.as_slice() {
            [(atoms, 1)] if sum.constant == 0 && atoms.len() == 1 => Some(atoms[0]),
            _ => None,
        }
    }

    fn sum_if_expr(self) -> Option<Arc<Sum>> {
        match self.0 {
            Repr::Known(_) => None,
            Repr::Expr(id) => read().sums.get(id as usize).map(|(sum, _)| sum.clone()),
        }
    }

    fn to_sum(self) -> Arc<Sum> {
        match self.0 {
            Repr::Known(constant) => Arc::new(Sum { terms: Vec::new(), constant }),
            Repr::Expr(_) => self.sum_if_expr().expect("expressions are never removed"),
        }
    }

    fn intern(sum: Sum) -> Dim {
        if sum.terms.is_empty() {
            return Dim::known(sum.constant);
        }
        if let Some(&id) = read().by_sum.get(&sum) {
            return Dim(Repr::Expr(id));
        }
        let inside = sum.terms.iter().flat_map(|(atoms, _)| atoms).map(|atom| match *atom {
            Atom::Symbol(_) => 0,
            Atom::FloorDiv(a, b)
            | Atom::Max(a, b)
            | Atom::Min(a, b)
            | Atom::Product(a, b)
            | Atom::Addition(a, b) => 1 + u32::max(a.depth(), b.depth()),
        });
        let depth = inside.max().unwrap_or(0);
        let mut interner = write();
        if let Some(&id) = interner.by_sum.get(&sum) {
            return Dim(Repr::Expr(id));
        }
        let id = interner.sums.len() as u32;
        let sum = Arc::new(sum);
        interner.sums.push((sum.clone(), depth));
        interner.by_sum.insert(sum, id);
        Dim(Repr::Expr(id))
    }

    /// The sum of `a` and `factor * b`, or `None` where it would overflow or grow too large.
    fn combine(a: Dim, b: Dim, factor: i64) -> Option<Dim> {
        let (a, b) = (a.to_sum(), b.to_sum());
        let mut terms = a.terms.clone();
        for (atoms, f) in &b.terms {
            let f = f.checked_mul(factor)?;
            match terms.binary_search_by(|(x, _)| x.cmp(atoms)) {
                Ok(at) => {
                    terms[at].1 = terms[at].1.checked_add(f)?;
                    if terms[at].1 == 0 {
                        terms.remove(at);
                    }
                }
                Err(at) => terms.insert(at, (atoms.clone(), f)),
            }
        }
        let constant = a.constant.checked_add(b.constant.checked_mul(factor)?)?;
        (terms.len() <= MAX_TERMS).then(|| Dim::intern(Sum { terms, constant }))
    }

    fn product(a: Dim, b: Dim) -> Option<Dim> {
        let (a, b) = (a.to_sum(), b.to_sum());
        if a.terms.len().max(1) * b.terms.len().max(1) > MAX_TERMS {
            return None;
        }
        let mut total = Dim::known(0);
        let constant = (Vec::new(), a.constant);
        for (x, f) in a.terms.iter().chain([&constant]).filter(|t| t.1 != 0) {
            let constant = (Vec::new(), b.constant);
            for (y, g) in b.terms.iter().chain([&constant]).filter(|t| t.1 != 0) {
                let mut atoms = [x.as_slice(), y.as_slice()].concat();
                if atoms.len() > MAX_TERMS {
                    return None;
                }
                atoms.sort();
                let f = f.checked_mul(*g)?;
                let term = match atoms.is_empty() {
                    true => Dim::known(f),
                    false => Dim::intern(Sum { terms: vec![(atoms, f)], constant: 0 }),
                };
                total = Dim::combine(total, term, 1)?;
            }
        }
        Some(total)
    }
}

impl Add for Dim {
    type Output = Dim;
    fn add(self, other: Dim) -> Dim {
        Dim::combine(self, other, 1)
            .unwrap_or_else(|| Dim::atom(Atom::Addition(self.min_id(other), self.max_id(other))))
    }
}

impl Sub for Dim {
    type Output = Dim;
    fn sub(self, other: Dim) -> Dim {
        Dim::combine(self, other, -1).unwrap_or_else(|| {
            Dim::atom(Atom::Addition(self, Dim::atom(Atom::Product(Dim::known(-1), other))))
        })
    }
}

impl Mul for Dim {
    type Output = Dim;
    fn mul(self, other: Dim) -> Dim {
        Dim::product(self, other)
            .unwrap_or_else(|| Dim::atom(Atom::Product(self.min_id(other), self.max_id(other))))
    }
}

impl Dim {
    fn min_id(self, other: Dim) -> Dim {
        std::cmp::min(self, other)
    }

    fn max_id(self, other: Dim) -> Dim {
        std::cmp::max(self, other)
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Dim {
        Dim::known(i64::try_from(size).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Dim {
        Dim::known(value)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, 0)
    }
}

impl Dim {
    fn show(self, f: &mut fmt::Formatter<'_>, depth: u32) -> fmt::Result {
        let Some(sum) = self.sum_if_expr() else {
            return write!(f, "{}", self.as_known().unwrap_or_default());
        };
        if depth > MAX_SHOWN_DEPTH {
            return f.write_str("...");
        }
        for (i, (atoms, factor)) in sum.terms.iter().enumerate() {
            if *factor < 0 {
                f.write_str("-")?;
            } else if i > 0 {
                f.write_str("+")?;
            }
            if factor.unsigned_abs() != 1 {
                write!(f, "{}*", factor.unsigned_abs())?;
            }
            for (k, atom) in atoms.iter().enumerate() {
                if k > 0 {
                    f.write_str("*")?;
                }
                let (open, a, between, b) = match *atom {
                    Atom::Symbol(id) => {
                        let name = read().symbols.get(id as usize).cloned();
                        f.write_str(name.as_deref().unwrap_or("?"))?;
                        continue;
                    }
                    Atom::FloorDiv(a, b) => ("floor((", a, ")/(", b),
                    Atom::Max(a, b) => ("max((", a, "),(", b),
                    Atom::Min(a, b) => ("min((", a, "),(", b),
                    Atom::Product(a, b) => ("((", a, ")*(", b),
                    Atom::Addition(a, b) => ("((", a, ")+(", b),
                };
                f.write_str(open)?;
                a.show(f, depth + 1)?;
                f.write_str(between)?;
                b.show(f, depth + 1)?;
                f.write_str("))")?;
            }
        }
        match sum.constant {
            0 => Ok(()),
            c if c < 0 => write!(f, "{c}"),
            c => write!(f, "+{c}"),
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_expressions_are_one() {
        let (n, m) = (Dim::symbol("n"), Dim::symbol("m"));
        assert_eq!((n + n) * Dim::known(2), Dim::known(4) * n);
        assert_eq!(n * m - m * n, Dim::known(0));
        assert_eq!((n + Dim::known(1)) * (n - Dim::known(1)), n * n - Dim::known(1));
        assert_ne!(n, m);
    }

    #[test]
    fn division() {
        let (n, m) = (Dim::symbol("n"), Dim::symbol("m"));
        assert_eq!((n * m * Dim::known(768)).floor_div(n * m), Dim::known(768));
        assert_eq!((n * Dim::known(4) + Dim::known(3)).floor_div(Dim::known(2)).to_string(), "2*n+1");
        assert_eq!(Dim::known(-7).floor_div(Dim::known(2)), Dim::known(-4));
        assert_eq!(Dim::known(7).ceil_div(Dim::known(2)), Dim::known(4));
        let half = n.floor_div(Dim::known(2));
        assert_eq!(half.substitute(&|s| (s == "n").then_some(Dim::known(9))), Dim::known(4));
        assert_eq!(Dim::known(1).floor_div(Dim::known(0)).as_known(), None);
    }

    #[test]
    fn bounds() {
        let (n, one, zero) = (Dim::symbol("n"), Dim::known(1), Dim::known(0));
        assert!(n.is_size() && (n * Dim::known(3) + one).is_size() && !(n - one).is_size());
        assert_eq!(n.max(zero), n);
        let m = Dim::symbol("m");
        assert_eq!(n.max(n.min(m)), n);
        assert_eq!(n.min(m).max(m), m);
        assert_eq!(n.min(m.max(n)), n);
        assert_eq!((n + one).min(one), one);
        assert!((n - one).max(zero).is_size());
        assert_eq!((n - one).max(zero).max(zero), (n - one).max(zero));
        assert!(!(zero - n).is_size());
    }

    #[test]
    fn hostile_numbers_do_not_overflow() {
        let big = Dim::known(i64::MAX);
        assert_eq!((big + Dim::known(1)).as_known(), None);
        assert_eq!((big * big).as_known(), None);
        assert_eq!(Dim::known(i64::MIN).floor_div(Dim::known(-1)).as_known(), None);
        let mut x = Dim::symbol("grow");
        for i in 0..60 {
            x = x * (x + Dim::symbol(&format!("s{i}")));
        }
        assert!(x.as_known().is_none() && x.to_string().len() < 10_000);
    }
}
