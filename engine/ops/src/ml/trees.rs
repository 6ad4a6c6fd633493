//! Decision trees: flattened, checked once, and walked by many rows at a time.

use oxidane_graph::{OpError, Run};
use oxidane_kernels::Float;
use std::collections::HashMap;

/// How a branch compares the feature of a row with its value: true or false says which way to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Equal,
    NotEqual,
    Member,
}

impl Mode {
    /// The mode of a name; `None` for a leaf.
    ///
    /// # Errors
    /// When there is none of this name.
    pub(crate) fn named(name: &str) -> Result<Option<Mode>, OpError> {
        Ok(Some(match name {
            "BRANCH_LEQ" => Mode::LessOrEqual,
            "BRANCH_LT" => Mode::Less,
            "BRANCH_GTE" => Mode::GreaterOrEqual,
            "BRANCH_GT" => Mode::Greater,
            "BRANCH_EQ" => Mode::Equal,
            "BRANCH_NEQ" => Mode::NotEqual,
            "LEAF" => return Ok(None),
            other => return Err(OpError::new(format!("there is no node mode `{other}`"))),
        }))
    }

    /// The mode of a number, as TreeEnsemble has it.
    ///
    /// # Errors
    /// When there is none of this number.
    pub(crate) fn numbered(number: u8) -> Result<Mode, OpError> {
        use Mode::*;
        let all = [LessOrEqual, Less, GreaterOrEqual, Greater, Equal, NotEqual, Member];
        let known = all.get(usize::from(number)).copied();
        known.ok_or_else(|| OpError::new(format!("there is no node mode {number}")))
    }
}

/// Where a branch leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    /// To another branch, by its position.
    Branch(usize),
    /// To a leaf, by its position.
    Leaf(usize),
}

/// A branch as a file describes it.
#[derive(Debug, Clone)]
pub(crate) struct Branch<T> {
    pub(crate) mode: Mode,
    pub(crate) feature: i64,
    pub(crate) value: T,
    /// What the feature may be, for [`Mode::Member`].
    pub(crate) members: Vec<T>,
    /// Whether a missing feature (NaN) counts as true.
    pub(crate) missing: bool,
    pub(crate) yes: Child,
    pub(crate) no: Child,
}

/// What a leaf adds to a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Vote<T> {
    pub(crate) leaf: usize,
    pub(crate) target: usize,
    pub(crate) weight: T,
}

/// How the votes of all trees become a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Average,
    Sum,
    Min,
    Max,
}

impl Aggregate {
    /// The function of a name.
    ///
    /// # Errors
    /// When there is none of this name.
    pub(crate) fn named(name: &str) -> Result<Aggregate, OpError> {
        Ok(match name {
            "AVERAGE" => Aggregate::Average,
            "SUM" => Aggregate::Sum,
            "MIN" => Aggregate::Min,
            "MAX" => Aggregate::Max,
            other => {
                return Err(OpError::new(format!("aggregate_function is `{other}`"))
                    .help("it may be AVERAGE, SUM, MIN or MAX"));
            }
        })
    }

    /// The function of a number, as TreeEnsemble has it.
    ///
    /// # Errors
    /// When there is none of this number.
    pub(crate) fn numbered(number: i64) -> Result<Aggregate, OpError> {
        let all = [Aggregate::Average, Aggregate::Sum, Aggregate::Min, Aggregate::Max];
        let known = usize::try_from(number).ok().and_then(|i| all.get(i).copied());
        known.ok_or_else(|| {
            OpError::new(format!("aggregate_function is {number}")).help("it may be a number from 0 to 3")
        })
    }
}

/// Marks a place as a leaf.
const LEAF: u32 = 1 << 31;
/// Marks a feature whose absence counts as true.
const MISSING: u32 = 1 << 31;
/// The largest number of branches, leaves and features.
const MOST: usize = (1 << 31) - 1;

/// A branch as it is walked: `x <= value` goes to `yes`.
#[derive(Debug, Clone, Copy)]
struct Step<T> {
    value: T,
    /// The column, and [`MISSING`].
    feature: u32,
    yes: u32,
    no: u32,
}

/// What stands in place of `x <= value` at a branch.
#[derive(Debug, Clone)]
enum Other<T> {
    None,
    Equal,
    NotEqual,
    Less,
    Greater,
    GreaterOrEqual,
    Member(Box<[T]>),
}

/// What makes of the scores of a row, and of which of them got a vote, its part of the output and its class.
pub(crate) type Finish<'a, T, O> = dyn Fn(&mut [T], &[bool], &mut [O], &mut u32) + Sync + 'a;

/// Whether a number is NaN.
#[inline]
pub(crate) fn missing<T: PartialOrd>(x: T) -> bool {
    x.partial_cmp(&x).is_none()
}

/// Trees ready to be walked.
#[derive(Debug)]
pub(crate) struct Forest<T> {
    steps: Vec<Step<T>>,
    /// For each step, where some compare otherwise.
    others: Vec<Other<T>>,
    any_missing: bool,
    roots: Vec<u32>,
    /// The first vote of each leaf, and the end of the last.
    starts: Vec<u32>,
    votes: Vec<(u32, T)>,
    targets: usize,
    /// The least number of columns that rows must have.
    columns: usize,
}

/// Rows that are walked down a tree together; a task takes so many.
const BLOCK: usize = 64;
/// Rows whose walks overlap, so that one's loads hide another's.
const LANES: usize = 8;
/// Blocks between two looks at the run's limits.
const BLOCKS_A_ROUND: usize = 256;

impl<T: Float + Default + Send + Sync> Forest<T> {
    /// Checks trees and lays them out, each in the order of a walk.
    ///
    /// # Errors
    /// When a branch leads nowhere or back to itself, or a vote is for no leaf or target.
    pub(crate) fn new(
        branches: Vec<Branch<T>>,
        roots: &[Child],
        leaves: usize,
        mut votes: Vec<Vote<T>>,
        targets: usize,
    ) -> Result<Forest<T>, OpError> {
        let wrong = |what: String| Err(OpError::new(what));
        if branches.len() > MOST || leaves > MOST || votes.len() > MOST {
            return wrong("the trees have too many nodes".to_owned());
        }
        let mut columns = 0;
        for (i, branch) in branches.iter().enumerate() {
            match usize::try_from(branch.feature) {
                Ok(feature) if feature < MOST => columns = columns.max(feature + 1),
                _ => return wrong(format!("node {i} looks at feature {}, which cannot be", branch.feature)),
            }
        }
        let exists = |child: Child| match child {
            Child::Branch(at) => at < branches.len(),
            Child::Leaf(at) => at < leaves,
        };
        for (i, branch) in branches.iter().enumerate() {
            if let Some(child) = [branch.yes, branch.no].into_iter().find(|&c| !exists(c)) {
                return wrong(format!("node {i} leads to {child:?}, which does not exist"));
            }
        }
        if let Some(root) = roots.iter().find(|&&root| !exists(root)) {
            return wrong(format!("a tree starts at {root:?}, which does not exist"));
        }
        let order = ordered(&branches, roots)?;
        let mut place = vec![0u32; branches.len()];
        for (new, &old) in order.iter().enumerate() {
            place[old] = new as u32;
        }
        let placed = |child: Child| match child {
            Child::Branch(at) => place[at],
            Child::Leaf(at) => at as u32 | LEAF,
        };
        let mut steps = Vec::with_capacity(order.len());
        let mut others = Vec::with_capacity(order.len());
        for &old in &order {
            let branch = &branches[old];
            let (step, other) = step(branch, placed(branch.yes), placed(branch.no));
            steps.push(step);
            others.push(other);
        }
        if others.iter().all(|o| matches!(o, Other::None)) {
            others = Vec::new();
        }
        // By leaf, those of one leaf in the order of the file.
        votes.sort_by_key(|vote| vote.leaf);
        let mut starts = vec![0u32; leaves + 1];
        for vote in &votes {
            if vote.leaf >= leaves || vote.target >= targets {
                return wrong(format!(
                    "there is a weight for leaf {} and target {}, but {leaves} leaves and {targets} targets",
                    vote.leaf, vote.target
                ));
            }
            starts[vote.leaf + 1] += 1;
        }
        for i in 0..leaves {
            starts[i + 1] += starts[i];
        }
        Ok(Forest {
            any_missing: steps.iter().any(|s| s.feature & MISSING != 0),
            steps,
            others,
            roots: roots.iter().map(|&root| placed(root)).collect(),
            starts,
            votes: votes.iter().map(|vote| (vote.target as u32, vote.weight)).collect(),
            targets,
            columns,
        })
    }

    /// How many targets there are.
    pub(crate) fn targets(&self) -> usize {
        self.targets
    }

    /// How many trees there are.
    pub(crate) fn trees(&self) -> usize {
        self.roots.len()
    }

    /// Whether a row goes to `yes` at a step.
    #[inline]
    fn turns(&self, at: usize, step: &Step<T>, x: T) -> bool {
        if step.feature & MISSING != 0 && missing(x) {
            return true;
        }
        match &self.others[at] {
            Other::None => x <= step.value,
            Other::Equal => x == step.value,
            Other::NotEqual => x != step.value,
            Other::Less => x < step.value,
            Other::Greater => x > step.value,
            Other::GreaterOrEqual => x >= step.value,
            Other::Member(members) => members.contains(&x),
        }
    }

    /// Walks rows, at most [`LANES`], down a tree; `CASE` is 0 where all steps are plain and nothing is missing,
    /// 1 where missing values matter, 2 where steps differ.
    #[inline]
    fn walk<const CASE: u8>(&self, root: u32, rows: &[T], columns: usize, leaves: &mut [u32]) {
        leaves.fill(root);
        loop {
            let mut open = false;
            for (lane, at) in leaves.iter_mut().enumerate() {
                if *at & LEAF != 0 {
                    continue;
                }
                open = true;
                let step = &self.steps[*at as usize];
                let x = rows[lane * columns + (step.feature & !MISSING) as usize];
                let yes = match CASE {
                    0 => x <= step.value,
                    1 => x <= step.value || (step.feature & MISSING != 0 && missing(x)),
                    _ => self.turns(*at as usize, step, x),
                };
                *at = if yes { step.yes } else { step.no };
            }
            if !open {
                return;
            }
        }
    }

    /// Adds the votes for the rows of a block to their scores. `seen` says which scores got a vote.
    fn vote(&self, rows: &[T], columns: usize, aggregate: Aggregate, scores: &mut [T], seen: &mut [bool]) {
        let case = match (self.others.is_empty(), self.any_missing) {
            (true, false) => 0,
            (true, true) => 1,
            _ => 2,
        };
        let mut leaves = [0; LANES];
        let count = scores.len() / self.targets;
        for &root in &self.roots {
            for first in (0..count).step_by(LANES) {
                let leaves = &mut leaves[..LANES.min(count - first)];
                let rows = &rows[first * columns..];
                match case {
                    0 => self.walk::<0>(root, rows, columns, leaves),
                    1 => self.walk::<1>(root, rows, columns, leaves),
                    _ => self.walk::<2>(root, rows, columns, leaves),
                }
                for (lane, leaf) in leaves.iter().enumerate() {
                    let leaf = (leaf & !LEAF) as usize;
                    let range = self.starts[leaf] as usize..self.starts[leaf + 1] as usize;
                    let row = (first + lane) * self.targets;
                    for &(target, weight) in &self.votes[range] {
                        let at = row + target as usize;
                        let (score, seen) = (&mut scores[at], &mut seen[at]);
                        *score = match aggregate {
                            Aggregate::Sum | Aggregate::Average => score.plus(weight),
                            Aggregate::Min if *seen && *score <= weight => *score,
                            Aggregate::Max if *seen && *score >= weight => *score,
                            _ => weight,
                        };
                        *seen = true;
                    }
                }
            }
        }
    }

    /// Scores rows of `columns` elements. `finish(scores, seen, out, class)` makes of the aggregated scores of a
    /// row what is given out: its part of `out`, `width` elements, and its class. Every row is summed in the order
    /// of the trees, whatever the number of threads.
    ///
    /// # Errors
    /// When the rows lack columns that the trees look at, or the run was stopped.
    pub(crate) fn score<O: Send>(
        &self,
        run: &Run<'_>,
        (x, columns): (&[T], usize),
        aggregate: Aggregate,
        (out, width): (&mut [O], usize),
        classes: &mut [u32],
        finish: &Finish<'_, T, O>,
    ) -> Result<(), OpError> {
        if columns < self.columns {
            return Err(OpError::new(format!(
                "the input has {columns} columns, but the trees look at column {}",
                self.columns - 1
            )));
        }
        if self.targets == 0 || width == 0 {
            return Ok(());
        }
        let mut blocks: Vec<(&mut [O], &mut [u32])> =
            out.chunks_mut(BLOCK * width).zip(classes.chunks_mut(BLOCK)).collect();
        for (round, blocks) in blocks.chunks_mut(BLOCKS_A_ROUND).enumerate() {
            run.checkpoint()?;
            run.pool().for_each_piece(blocks, 1, |i, block| {
                let (out, classes) = &mut block[0];
                let rows = &x[(round * BLOCKS_A_ROUND + i) * BLOCK * columns..];
                let count = classes.len();
                let mut scores = vec![T::ZERO; count * self.targets];
                let mut seen = vec![false; count * self.targets];
                self.vote(rows, columns, aggregate, &mut scores, &mut seen);
                let finished = scores.chunks_mut(self.targets).zip(seen.chunks(self.targets));
                for (((scores, seen), out), class) in
                    finished.zip(out.chunks_mut(width)).zip(classes.iter_mut())
                {
                    finish(scores, seen, out, class);
                }
            });
        }
        Ok(())
    }
}

/// The branches that the roots lead to, each before those that it leads to.
fn ordered<T>(branches: &[Branch<T>], roots: &[Child]) -> Result<Vec<usize>, OpError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Above,
        Done,
    }
    let mut seen = vec![Seen::No; branches.len()];
    let mut order = Vec::new();
    let mut path: Vec<(usize, u8)> = Vec::new();
    for root in roots {
        let mut next = *root;
        loop {
            if let Child::Branch(at) = next {
                match seen[at] {
                    Seen::Above => {
                        return Err(OpError::new(format!("node {at} leads back to itself: that is no tree")));
                    }
                    Seen::Done => {}
                    Seen::No => {
                        seen[at] = Seen::Above;
                        order.push(at);
                        path.push((at, 0));
                    }
                }
            }
            // On to the next child of the lowest branch that has one.
            loop {
                match path.last_mut() {
                    None => break,
                    Some((at, 2)) => {
                        seen[*at] = Seen::Done;
                        path.pop();
                    }
                    Some((at, child)) => {
                        next = if *child == 0 { branches[*at].yes } else { branches[*at].no };
                        *child += 1;
                        break;
                    }
                }
            }
            if path.is_empty() {
                break;
            }
        }
    }
    Ok(order)
}

/// A branch as a step. Comparisons by size all become `x <= value`, with the ways exchanged or the value moved to
/// the next number below, which for numbers and NaN alike says the same.
fn step<T: Float>(branch: &Branch<T>, yes: u32, no: u32) -> (Step<T>, Other<T>) {
    let value = branch.value;
    let plain = !missing(value) && value.to_f64() != f64::NEG_INFINITY;
    // Exchanged ways turn around what a missing value counts as.
    let (value, exchanged, missing, other) = match branch.mode {
        Mode::LessOrEqual => (value, false, branch.missing, Other::None),
        Mode::Less if plain => (below(value), false, branch.missing, Other::None),
        Mode::Greater if plain => (value, true, !branch.missing, Other::None),
        Mode::GreaterOrEqual if plain => (below(value), true, !branch.missing, Other::None),
        Mode::Less => (value, false, branch.missing, Other::Less),
        Mode::Greater => (value, false, branch.missing, Other::Greater),
        Mode::GreaterOrEqual => (value, false, branch.missing, Other::GreaterOrEqual),
        Mode::Equal => (value, false, branch.missing, Other::Equal),
        Mode::NotEqual => (value, false, branch.missing, Other::NotEqual),
        Mode::Member => (value, false, branch.missing, Other::Member(branch.members.clone().into())),
    };
    let (yes, no) = if exchanged { (no, yes) } else { (yes, no) };
    let feature = branch.feature as u32 | if missing { MISSING } else { 0 };
    (Step { value, feature, yes, no }, other)
}

/// The largest number below `value`.
fn below<T: Float>(value: T) -> T {
    match size_of::<T>() {
        4 => T::from_f64(f64::from((value.to_f64() as f32).next_down())),
        _ => T::from_f64(value.to_f64().next_down()),
    }
}

/// The attributes that the older tree operators share.
pub(crate) struct Listed<'a, T> {
    pub(crate) tree_ids: &'a [i64],
    pub(crate) node_ids: &'a [i64],
    pub(crate) features: &'a [i64],
    pub(crate) modes: &'a [String],
    pub(crate) values: Vec<T>,
    pub(crate) yes: &'a [i64],
    pub(crate) no: &'a [i64],
    pub(crate) missing: &'a [i64],
    pub(crate) vote_trees: &'a [i64],
    pub(crate) vote_nodes: &'a [i64],
    pub(crate) vote_targets: &'a [i64],
    pub(crate) vote_weights: Vec<T>,
}

impl<T: Float + Default + Send + Sync> Listed<'_, T> {
    /// The forest: the first node of each tree is its root.
    ///
    /// # Errors
    /// When the lists do not fit together, and those of [`Forest::new`].
    pub(crate) fn forest(self, targets: usize) -> Result<Forest<T>, OpError> {
        let wrong = |what: String| Err(OpError::new(what));
        let count = self.node_ids.len();
        for (name, len) in [
            ("nodes_treeids", self.tree_ids.len()),
            ("nodes_featureids", self.features.len()),
            ("nodes_modes", self.modes.len()),
            ("nodes_values", self.values.len()),
            ("nodes_truenodeids", self.yes.len()),
            ("nodes_falsenodeids", self.no.len()),
        ] {
            if len != count {
                return wrong(format!("{name} has {len} elements for {count} nodes"));
            }
        }
        let votes = self.vote_weights.len();
        let lists = [self.vote_trees, self.vote_nodes, self.vote_targets];
        if let Some(list) = lists.iter().find(|l| l.len() != votes) {
            return wrong(format!("there are {votes} weights at leaves, but {} places for them", list.len()));
        }
        let mut places = HashMap::with_capacity(count);
        // Branches and leaves are counted apart.
        let mut children = Vec::with_capacity(count);
        let (mut branches, mut leaves) = (0, 0);
        let mut modes = Vec::with_capacity(count);
        for i in 0..count {
            let (tree, node) = (self.tree_ids[i], self.node_ids[i]);
            if places.insert((tree, node), i).is_some() {
                return wrong(format!("tree {tree} has two nodes {node}"));
            }
            let mode = Mode::named(&self.modes[i])?;
            children.push(match mode {
                Some(_) => Child::Branch(branches),
                None => Child::Leaf(leaves),
            });
            *(if mode.is_some() { &mut branches } else { &mut leaves }) += 1;
            modes.push(mode);
        }
        let find = |tree: i64, node: i64| match places.get(&(tree, node)) {
            Some(&at) => Ok(children[at]),
            None => Err(OpError::new(format!("tree {tree} has no node {node}"))),
        };
        let mut all = Vec::with_capacity(branches);
        for (i, mode) in modes.into_iter().enumerate() {
            let Some(mode) = mode else { continue };
            let tree = self.tree_ids[i];
            all.push(Branch {
                mode,
                feature: self.features[i],
                value: self.values[i],
                members: Vec::new(),
                missing: self.missing.get(i).is_some_and(|&m| m == 1),
                yes: find(tree, self.yes[i])?,
                no: find(tree, self.no[i])?,
            });
        }
        let mut trees = std::collections::HashSet::new();
        let roots: Vec<Child> =
            (0..count).filter(|&i| trees.insert(self.tree_ids[i])).map(|i| children[i]).collect();
        let mut cast = Vec::with_capacity(votes);
        for (i, &weight) in self.vote_weights.iter().enumerate() {
            let (tree, node) = (self.vote_trees[i], self.vote_nodes[i]);
            let target = usize::try_from(self.vote_targets[i]).unwrap_or(usize::MAX);
            // Weights at branches are never reached.
            match find(tree, node)? {
                Child::Leaf(leaf) => cast.push(Vote { leaf, target, weight }),
                Child::Branch(_) if target < targets => {}
                Child::Branch(_) => {
                    return wrong(format!(
                        "there is a weight for target {}, but {targets} targets",
                        self.vote_targets[i]
                    ));
                }
            }
        }
        Forest::new(all, &roots, leaves, cast, targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(yes: Child, no: Child) -> Branch<f32> {
        Branch { mode: Mode::LessOrEqual, feature: 0, value: 0.5, members: vec![], missing: false, yes, no }
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let leaf = Child::Leaf(0);
        let new = |branches: Vec<Branch<f32>>, roots: &[Child], votes: Vec<Vote<f32>>| {
            Forest::new(branches, roots, 1, votes, 1).map(|_| ()).map_err(|e| e.to_string())
        };
        assert!(new(vec![branch(leaf, leaf)], &[Child::Branch(0)], vec![]).is_ok());
        assert!(new(vec![branch(Child::Branch(0), leaf)], &[Child::Branch(0)], vec![]).is_err());
        let cycle = vec![branch(Child::Branch(1), leaf), branch(leaf, Child::Branch(0))];
        assert!(new(cycle, &[Child::Branch(1)], vec![]).unwrap_err().contains("leads back"));
        assert!(new(vec![branch(Child::Branch(1), leaf)], &[Child::Branch(0)], vec![]).is_err());
        assert!(new(vec![branch(Child::Leaf(1), leaf)], &[Child::Branch(0)], vec![]).is_err());
        assert!(new(vec![], &[Child::Branch(0)], vec![]).is_err());
        assert!(new(vec![], &[leaf], vec![Vote { leaf: 1, target: 0, weight: 1.0 }]).is_err());
        assert!(new(vec![], &[leaf], vec![Vote { leaf: 0, target: 1, weight: 1.0 }]).is_err());
        for feature in [-1, i64::MAX, 1 << 31] {
            assert!(
                new(vec![Branch { feature, ..branch(leaf, leaf) }], &[Child::Branch(0)], vec![]).is_err()
            );
        }
        // Two branches that meet again are no cycle.
        let met = vec![
            branch(Child::Branch(1), Child::Branch(2)),
            branch(Child::Branch(2), leaf),
            branch(leaf, leaf),
        ];
        assert!(new(met, &[Child::Branch(0), Child::Branch(2)], vec![]).is_ok());
    }

    #[test]
    fn every_comparison() {
        let values = [f32::NEG_INFINITY, -1.0, -0.0, 0.0, 1.5, f32::INFINITY, f32::NAN];
        let modes = [
            Mode::LessOrEqual,
            Mode::Less,
            Mode::GreaterOrEqual,
            Mode::Greater,
            Mode::Equal,
            Mode::NotEqual,
            Mode::Member,
        ];
        for (mode, value, missing) in
            modes.iter().flat_map(|&m| values.iter().flat_map(move |&v| [(m, v, false), (m, v, true)]))
        {
            let made = Branch {
                mode,
                value,
                missing,
                members: vec![0.0, 1.5],
                ..branch(Child::Leaf(0), Child::Leaf(1))
            };
            let forest = Forest::new(vec![made], &[Child::Branch(0)], 2, vec![], 1).unwrap();
            for x in values {
                let expected = (missing && x.is_nan())
                    || match mode {
                        Mode::LessOrEqual => x <= value,
                        Mode::Less => x < value,
                        Mode::GreaterOrEqual => x >= value,
                        Mode::Greater => x > value,
                        Mode::Equal => x == value,
                        Mode::NotEqual => x != value,
                        Mode::Member => x == 0.0 || x == 1.5,
                    };
                let mut leaf = [0];
                match (forest.others.is_empty(), forest.any_missing) {
                    (true, false) => forest.walk::<0>(forest.roots[0], &[x], 1, &mut leaf),
                    (true, true) => forest.walk::<1>(forest.roots[0], &[x], 1, &mut leaf),
                    _ => forest.walk::<2>(forest.roots[0], &[x], 1, &mut leaf),
                }
                assert_eq!(leaf[0] == LEAF, expected, "{mode:?} {value} {missing} at {x}");
            }
        }
    }
}
