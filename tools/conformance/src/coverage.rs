use crate::report::{Report, line_of, n, numbers_right, table};
use crate::schemas::{Schema, live_schemas, touched};
use crate::{Case, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// The schemas of the standard, each with the cases that touch it and how they ended.
#[derive(Debug, Clone)]
pub struct Coverage {
    /// Every live schema, sorted.
    pub schemas: Vec<Covered>,
}

/// A schema and its cases.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Covered {
    /// The schema.
    #[serde(flatten)]
    pub schema: Schema,
    /// Whether a model with it has been imported.
    pub imports: bool,
    /// Cases with it that pass; it is covered if there is one.
    pub passed: usize,
    /// The cases with it, in the report's order.
    pub cases: Vec<Touching>,
    /// Why no case passes; empty if one does.
    pub why: String,
}

/// A case that touches a schema.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Touching {
    /// The suite.
    pub suite: String,
    /// The case.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
}

impl Coverage {
    /// What the cases of a report cover; `cases` are those the report is about, in its order.
    pub fn new(cases: &[&Case], report: &Report) -> Coverage {
        let mut schemas: BTreeMap<Schema, Covered> = live_schemas()
            .into_iter()
            .map(|schema| {
                let why = "no case".to_owned();
                (schema, Covered { schema, imports: false, passed: 0, cases: Vec::new(), why })
            })
            .collect();
        for (case, row) in cases.iter().zip(&report.rows) {
            for schema in touched(&case.model) {
                let Some(covered) = schemas.get_mut(&schema) else { continue };
                let passed = row.outcome.verdict == Verdict::Passed;
                covered.imports |= row.outcome.imported;
                if passed {
                    covered.why.clear();
                } else if covered.cases.is_empty() {
                    covered.why = format!("{}: {}", row.name, line_of(&row.outcome.message));
                }
                covered.passed += usize::from(passed);
                covered.cases.push(Touching {
                    suite: row.suite.clone(),
                    name: row.name.clone(),
                    verdict: row.outcome.verdict,
                });
            }
        }
        Coverage { schemas: schemas.into_values().collect() }
    }

    /// How many schemas a passing case touches.
    pub fn covered(&self) -> usize {
        self.schemas.iter().filter(|s| s.passed > 0).count()
    }

    /// The table for a terminal, an operator a row and a row more for each further schema that is not covered;
    /// operators that are covered in all versions are left out unless `all`. The last line is the total.
    pub fn to_text(&self, all: bool) -> String {
        let mut ops = table(&["operator", "versions", "covered", "version that is not covered, and why"]);
        let mut by_op: BTreeMap<String, Vec<&Covered>> = BTreeMap::new();
        for covered in &self.schemas {
            let Schema { domain, name, .. } = covered.schema;
            let domain = if domain == "ai.onnx" { "" } else { domain };
            by_op.entry(oxidane::graph::qualified(domain, name)).or_default().push(covered);
        }
        for (op, versions) in by_op {
            let mut missing = versions.iter().filter(|v| v.passed == 0);
            let first = missing.next();
            if first.is_some() || all {
                let count = versions.len() - usize::from(first.is_some()) - missing.clone().count();
                ops.add_row([&op, &n(versions.len()), &n(count), &first.map_or(String::new(), |v| v.line())]);
            }
            for version in missing {
                ops.add_row(["", "", "", &version.line()]);
            }
        }
        numbers_right(&mut ops, 1..3);
        let mut text = String::new();
        if ops.row_count() > 0 {
            text.push_str(&format!("{ops}\n\n"));
        }
        text.push_str(&format!("covered {} of {}\n", self.covered(), self.schemas.len()));
        text
    }

    /// The checked-in table: a schema and the number of its passing cases a line.
    pub fn to_table(&self) -> String {
        self.schemas.iter().map(|s| format!("{}\t{}\n", s.schema, s.passed)).collect()
    }

    /// The schemas that are covered in a table written by [`Coverage::to_table`] and are not covered here.
    pub fn lost(&self, table: &str) -> Vec<&Covered> {
        let before: BTreeSet<&str> = table
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .filter(|(_, passed)| passed.trim() != "0")
            .map(|(schema, _)| schema)
            .collect();
        let lost = |s: &&Covered| s.passed == 0 && before.contains(s.schema.to_string().as_str());
        self.schemas.iter().filter(lost).collect()
    }
}

impl Covered {
    fn line(&self) -> String {
        format!("{}: {}", self.schema.version, self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_covered_and_is_not_is_lost() {
        let mut coverage = Coverage::new(&[], &Report { rows: Vec::new() });
        assert_eq!(coverage.covered(), 0);
        assert!(coverage.lost(&coverage.to_table()).is_empty());
        coverage.schemas[3].passed = 2;
        let table = coverage.to_table();
        assert!(coverage.lost(&table).is_empty());
        coverage.schemas[3].passed = 0;
        let lost: Vec<Schema> = coverage.lost(&table).iter().map(|s| s.schema).collect();
        assert_eq!(lost, [coverage.schemas[3].schema]);
        assert!(coverage.to_text(false).ends_with("covered 0 of 654\n"));
    }
}
