//! Poolings.

use super::{Blocked, blocked, image, replace};
use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, Dim};
use oxidane_ops::native::DOMAIN;

/// MaxPool and AveragePool of a blocked value.
pub(super) struct Windows;

impl Rule for Windows {
    fn name(&self) -> &'static str {
        "pool_in_blocks"
    }

    fn doc(&self) -> &'static str {
        "MaxPool and AveragePool of what was brought out of blocks work on the blocks"
    }

    fn roots(&self) -> &[&'static str] {
        &["MaxPool", "AveragePool"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let from = blocked(site, site.input(0)?).ok_or(Refused::NoMatch)?;
        image(site, site.input(0)?).ok_or(Refused::NoMatch)?;
        let given = site.node().op().attributes();
        if site.node().outputs().len() > 1 {
            return Err(Refused::because("the places of the largest elements are asked for"));
        }
        if given.value::<bool>("ceil_mode")?.unwrap_or_default() {
            return Err(Refused::because("the last window may hang over the end"));
        }
        let mut attributes = Attributes::new().with("mean", site.is(site.id(), "AveragePool"));
        for name in ["kernel_shape", "dilations", "strides"] {
            attributes.set(name, given.value::<Vec<i64>>(name)?);
        }
        match given.value::<String>("auto_pad")?.as_deref() {
            None | Some("" | "NOTSET") => attributes.set("pads", given.value::<Vec<i64>>("pads")?),
            Some("VALID") => {}
            Some(_) => return Err(Refused::because("the pads depend on the sizes")),
        }
        if let Some(all) = given.value::<bool>("count_include_pad")? {
            attributes.set("count_include_pad", all);
        }
        let op = site.op_of(DOMAIN, "Pool", &attributes)?;
        let new = site.add(op, &[from.value]);
        replace(site, site.output(0)?, Blocked { value: new, ..from })
    }
}

/// GlobalAveragePool, and ReduceMean over all spatial axes, of a blocked value.
pub(super) struct Means;

impl Rule for Means {
    fn name(&self) -> &'static str {
        "mean_in_blocks"
    }

    fn doc(&self) -> &'static str {
        "GlobalAveragePool, and ReduceMean like it, of what was brought out of blocks works on the blocks"
    }

    fn roots(&self) -> &[&'static str] {
        &["GlobalAveragePool", "ReduceMean"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let x = site.input(0)?;
        let from = blocked(site, x).ok_or(Refused::NoMatch)?;
        let rank = image(site, x).map(<[Dim]>::len).ok_or(Refused::NoMatch)? as i64;
        if site.is(site.id(), "ReduceMean") {
            let axes = site.node().input(1).and_then(|v| site.known_ints(v)).ok_or(Refused::NoMatch)?;
            let mut axes: Vec<i64> = axes.iter().map(|&a| if a < 0 { a + rank } else { a }).collect();
            axes.sort_unstable();
            if axes != (2..rank).collect::<Vec<i64>>() {
                return Err(Refused::because("the axes are not all spatial ones"));
            }
            if !site.attribute::<bool>(site.id(), "keepdims").unwrap_or(true) {
                return Err(Refused::because("the axes are dropped"));
            }
        }
        let op = site.op_of(DOMAIN, "GlobalAveragePool", &Attributes::new())?;
        let new = site.add(op, &[from.value]);
        replace(site, site.output(0)?, Blocked { value: new, ..from })
    }
}
