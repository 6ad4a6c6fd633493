use crate::site::standard;
use oxidane_graph::{Graph, Inference, MAX_DEPTH, NodeId, Op, OpError};
use oxidane_ops::{expansion, room};
use std::collections::BTreeMap;

/// Expansions are of operators that have expansions themselves at most so deep.
const ROUNDS: usize = 8;

/// Writes out, in simpler operators, those standard operators that an opset does not have yet: the reverse of fusing.
/// What has no simpler form stays, for the export to name. Gives how many nodes of each operator were written out.
///
/// # Errors
/// When an expansion does not fit its node.
pub fn lower(graph: &mut Graph, opset: i64) -> Result<BTreeMap<String, usize>, OpError> {
    let mut walk = Inference::default();
    walk.graph(graph);
    let mut counts = BTreeMap::new();
    within(graph, walk, opset, &mut counts, 0)?;
    if !counts.is_empty() {
        oxidane_graph::infer(graph);
    }
    Ok(counts)
}

fn within(
    graph: &mut Graph,
    mut walk: Inference,
    opset: i64,
    counts: &mut BTreeMap<String, usize>,
    depth: usize,
) -> Result<(), OpError> {
    let absent = |op: &dyn Op| {
        let own = matches!(op.domain(), "" | "ai.onnx");
        own && room("", op.name()).is_some_and(|room| room.version_at(opset).is_none())
    };
    for _ in 0..ROUNDS {
        let of = |graph: &Graph| -> Vec<(NodeId, String)> {
            let named = |(id, node): (NodeId, &oxidane_graph::Node)| Some((id, standard(node)?.to_owned()));
            graph.nodes().filter(|(_, node)| absent(&**node.op())).filter_map(named).collect()
        };
        let before = of(graph);
        walk = expansion::expand_those(graph, walk, &absent)?;
        let mut changed = false;
        for (id, name) in before {
            if graph.get_node(id).is_none() {
                *counts.entry(name).or_default() += 1;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    if depth >= MAX_DEPTH {
        return Ok(());
    }
    let holders: Vec<NodeId> = graph.holders().collect();
    for id in holders {
        for k in 0..graph.node(id).bodies().len() {
            let mut body = std::mem::take(&mut graph.bodies_mut(id)[k]);
            let mut inner = walk.enter(graph, id, &body);
            inner.graph(&mut body);
            let done = within(&mut body, inner, opset, counts, depth + 1);
            graph.bodies_mut(id)[k] = body;
            done?;
        }
    }
    Ok(())
}
