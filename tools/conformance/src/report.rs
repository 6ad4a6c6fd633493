use crate::{Case, Outcome, Verdict};
use comfy_table::{CellAlignment, Table, presets};
use std::collections::BTreeMap;

/// The outcomes of a run, counted by suite and by operator.
#[derive(Debug, Clone)]
pub struct Report {
    /// Suite, case and outcome, in the order of the cases.
    pub rows: Vec<Row>,
}

/// A case and how it ended.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Row {
    /// The suite.
    pub suite: String,
    /// The case.
    pub name: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How many cases there are and how they ended.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Cases.
    pub cases: usize,
    /// Passed.
    pub passed: usize,
    /// Cannot be repeated, being a draw of random numbers, but are right in type, shape and statistics.
    pub drawn: usize,
    /// Gave a wrong output.
    pub wrong: usize,
    /// Ended with an error.
    pub errors: usize,
    /// Panicked, crashed or hung.
    pub broken: usize,
    /// The first case that did not pass, and its error.
    pub first: Option<(String, String)>,
}

impl Tally {
    fn add(&mut self, row: &Row) {
        self.cases += 1;
        match row.outcome.verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Drawn => self.drawn += 1,
            Verdict::Wrong => self.wrong += 1,
            Verdict::Error => self.errors += 1,
            Verdict::Panic | Verdict::Crash | Verdict::Timeout => self.broken += 1,
        }
        if !matches!(row.outcome.verdict, Verdict::Passed | Verdict::Drawn) && self.first.is_none() {
            self.first = Some((row.name.clone(), row.outcome.message.clone()));
        }
    }
}

impl Report {
    /// A report of cases and their outcomes.
    pub fn new(cases: &[&Case], outcomes: Vec<Outcome>) -> Report {
        let row = |(case, outcome): (&&Case, Outcome)| Row {
            suite: case.suite.clone(),
            name: case.name.clone(),
            outcome,
        };
        Report { rows: cases.iter().zip(outcomes).map(row).collect() }
    }

    /// All cases together.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.rows.iter().for_each(|row| total.add(row));
        total
    }

    /// By suite.
    pub fn by_suite(&self) -> BTreeMap<&str, Tally> {
        let mut suites: BTreeMap<&str, Tally> = BTreeMap::new();
        for row in &self.rows {
            suites.entry(&row.suite).or_default().add(row);
        }
        suites
    }

    /// By operator: the cases whose model contains it.
    pub fn by_op(&self) -> BTreeMap<&str, Tally> {
        let mut ops: BTreeMap<&str, Tally> = BTreeMap::new();
        for row in &self.rows {
            for op in &row.outcome.ops {
                ops.entry(op).or_default().add(row);
            }
        }
        ops
    }

    /// The tables for a terminal; operators that pass everywhere are left out unless `all`.
    pub fn to_text(&self, all: bool) -> String {
        let mut suites =
            table(&["suite", "cases", "passed", "random", "wrong", "error", "panic, crash, hang"]);
        let mut line = |name: &str, t: &Tally| {
            let counts = [t.cases, t.passed, t.drawn, t.wrong, t.errors, t.broken];
            suites.add_row(std::iter::once(name.to_owned()).chain(counts.map(n)));
        };
        for (suite, tally) in self.by_suite() {
            line(suite, &tally);
        }
        line("all", &self.total());
        let mut ops = table(&["operator", "cases", "passed", "first case that fails, and why"]);
        for (op, tally) in self.by_op() {
            if all || tally.passed + tally.drawn < tally.cases {
                let first = tally
                    .first
                    .as_ref()
                    .map_or(String::new(), |(case, why)| format!("{case}: {}", line_of(why)));
                ops.add_row([op, &n(tally.cases), &n(tally.passed), &first]);
            }
        }
        numbers_right(&mut suites, 1..7);
        numbers_right(&mut ops, 1..3);
        let mut text = format!("{suites}\n");
        if ops.row_count() > 0 {
            text.push_str(&format!("\n{ops}\n"));
        }
        text
    }
}

/// The first line of an error, cut to a table's width.
pub(crate) fn line_of(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    match line.char_indices().nth(150) {
        Some((cut, _)) => format!("{}...", &line[..cut]),
        None => line.to_owned(),
    }
}

pub(crate) fn n(count: usize) -> String {
    count.to_string()
}

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    table
}

pub(crate) fn numbers_right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
