use crate::Verdict;
use crate::report::{Report, Tally};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::Path;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;\
color:#1c2733;background:#fff}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .6rem;\
border-bottom:1px solid #dde3ea;vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
.bar{display:inline-block;height:.7em;width:8rem;background:#f3c9c4;border-radius:2px;overflow:hidden}\
.bar i{display:block;height:100%;background:#3c9a6b}code{font-size:.92em}summary{cursor:pointer;margin:.6rem 0}\
.why{color:#4a5866}@media(prefers-color-scheme:dark){body{background:#14191f;color:#dce3ea}\
th,td{border-color:#2b343e}.why{color:#9fb0c0}}";

/// Writes the report as a page that needs nothing from a network. It is written beside and renamed.
///
/// # Errors
/// When the file cannot be written.
pub fn write_page(report: &Report, title: &str, path: &Path) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = Path::new(&beside);
    std::fs::write(beside, page(report, title)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::rename(beside, path).with_context(|| format!("cannot write {}", path.display()))
}

fn page(report: &Report, title: &str) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let total = report.total();
    write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title><style>{STYLE}</style>\
         <h1>{0}</h1><p>{1} of {2} cases pass; {6} are draws of random numbers, right in type, shape and statistics; {3} \
         give a wrong output, {4} end in an error, {5} panic, crash or hang.</p><h2>Suites</h2>",
        escape(title),
        total.passed,
        total.cases,
        total.wrong,
        total.errors,
        total.broken,
        total.drawn
    )?;
    tallies(&mut out, "suite", report.by_suite().iter())?;
    write!(out, "<h2>Operators</h2><p>A case counts for every operator in its model.</p>")?;
    tallies(&mut out, "operator", report.by_op().iter())?;
    write!(out, "<h2>Cases that do not pass</h2>")?;
    for (verdict, words) in [
        (Verdict::Crash, "crashed"),
        (Verdict::Panic, "panicked"),
        (Verdict::Timeout, "took too long"),
        (Verdict::Wrong, "gave a wrong output"),
        (Verdict::Error, "ended in an error"),
        (Verdict::Drawn, "are draws of random numbers, right in type, shape and statistics"),
    ] {
        let rows: Vec<_> = report.rows.iter().filter(|r| r.outcome.verdict == verdict).collect();
        if rows.is_empty() {
            continue;
        }
        write!(out, "<details open><summary>{} {words}</summary><table>", rows.len())?;
        for row in rows {
            write!(
                out,
                "<tr><td><code>{}/{}</code><td class=\"why\">{}",
                escape(&row.suite),
                escape(&row.name),
                escape(&row.outcome.message).replace('\n', "<br>")
            )?;
        }
        write!(out, "</table></details>")?;
    }
    out.push_str("</html>\n");
    Ok(out)
}

fn tallies<'a>(
    out: &mut String,
    head: &str,
    rows: impl Iterator<Item = (&'a &'a str, &'a Tally)>,
) -> std::fmt::Result {
    write!(
        out,
        "<table><tr><th>{head}<th class=\"n\">cases<th class=\"n\">passed<th><th>first case that fails, and why"
    )?;
    for (name, tally) in rows {
        let percent = 100 * tally.passed / tally.cases.max(1);
        let why = match &tally.first {
            Some((case, why)) => {
                format!("<code>{}</code>: {}", escape(case), escape(&crate::report::line_of(why)))
            }
            None => String::new(),
        };
        write!(
            out,
            "<tr><td><code>{}</code><td class=\"n\">{}<td class=\"n\">{}\
             <td><span class=\"bar\"><i style=\"width:{percent}%\"></i></span><td class=\"why\">{why}",
            escape(name),
            tally.cases,
            tally.passed
        )?;
    }
    write!(out, "</table>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
