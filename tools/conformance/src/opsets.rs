use crate::report::{Report, line_of, n, numbers_right, table};
use crate::{Case, Verdict};
use oxidane::Model;
use prost::Message;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Cases written in other opsets, and the reasons where an opset cannot express one.
#[derive(Debug, Default)]
pub struct Conversions {
    /// The cases that were converted; the suite is the opset, with two digits.
    pub cases: Vec<Case>,
    /// Opset, case and what its model has that the opset has not.
    pub inexpressible: Vec<(i64, String, String)>,
    /// Opset, case and what else went wrong.
    pub failed: Vec<(i64, String, String)>,
}

impl Conversions {
    /// Writes each case in each of the opsets.
    pub fn new(cases: &[&Case], opsets: impl Iterator<Item = i64> + Clone) -> Conversions {
        let mut all = Conversions::default();
        for case in cases {
            let model = match Model::from_bytes(case.model.clone(), None) {
                Ok(model) => model,
                Err(error) => {
                    let failed = opsets.clone().map(|o| (o, case.name.clone(), error.to_string()));
                    all.failed.extend(failed);
                    continue;
                }
            };
            for opset in opsets.clone() {
                let name = case.name.clone();
                match catch_unwind(AssertUnwindSafe(|| model.onnx().to_proto(Some(opset)))) {
                    Ok(Ok(proto)) => all.cases.push(Case {
                        suite: suite_of(opset),
                        model: proto.encode_to_vec().into(),
                        ..(*case).clone()
                    }),
                    Ok(Err(error)) => all.inexpressible.push((opset, name, error.to_string())),
                    Err(_) => all.failed.push((opset, name, "the conversion panicked".to_owned())),
                }
            }
        }
        all
    }

    /// How many conversions failed, or gave a model that does not give the outputs.
    pub fn faults(&self, report: &Report) -> usize {
        let right = |verdict| matches!(verdict, Verdict::Passed | Verdict::Drawn);
        self.failed.len() + report.rows.iter().filter(|r| !right(r.outcome.verdict)).count()
    }

    /// The table for a terminal, an opset a row, and every failure; with `all` also every reason for which an opset
    /// cannot express a model, with the first of its cases. `report` is about [`Conversions::cases`].
    pub fn to_text(&self, report: &Report, all: bool) -> String {
        let mut rows = table(&["opset", "cases", "converted", "random", "not expressible", "failed"]);
        let tallies = report.by_suite();
        let mut counts: BTreeMap<String, [usize; 4]> = BTreeMap::new();
        for (suite, tally) in tallies {
            let failed = tally.wrong + tally.errors + tally.broken;
            counts.insert(suite.to_owned(), [tally.passed, tally.drawn, 0, failed]);
        }
        for (opset, ..) in &self.inexpressible {
            counts.entry(suite_of(*opset)).or_default()[2] += 1;
        }
        for (opset, ..) in &self.failed {
            counts.entry(suite_of(*opset)).or_default()[3] += 1;
        }
        for (opset, counts) in &counts {
            let numbers = counts.iter().map(|&count| n(count));
            let cells = [opset.clone(), n(counts.iter().sum())];
            rows.add_row(cells.into_iter().chain(numbers).collect::<Vec<_>>());
        }
        numbers_right(&mut rows, 0..6);
        let mut text = format!("{rows}\n");
        if all {
            let mut reasons: BTreeMap<String, (usize, &str)> = BTreeMap::new();
            for (opset, name, why) in &self.inexpressible {
                let reason = format!("{opset:02}: {}", line_of(why));
                reasons.entry(reason).or_insert((0, name)).0 += 1;
            }
            for (reason, (count, name)) in reasons {
                text += &format!("opset {reason} ({count} cases, {name} first)\n");
            }
        }
        for (opset, name, why) in &self.failed {
            text += &format!("FAILED: opset {opset:02}: {name}: {}\n", line_of(why));
        }
        for row in &report.rows {
            if !matches!(row.outcome.verdict, Verdict::Passed | Verdict::Drawn) {
                text += &format!(
                    "FAILED: opset {}: {}: {}\n",
                    row.suite,
                    row.name,
                    line_of(&row.outcome.message)
                );
            }
        }
        text
    }
}

fn suite_of(opset: i64) -> String {
    format!("{opset:02}")
}
