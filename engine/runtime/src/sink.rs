use oxidane_graph::{Graph, NodeId, Source};

/// Moves constants that bodies capture into the bodies, so that kernels there see them as constants when they
/// are bound.
pub(crate) fn sink_constants(graph: &mut Graph) {
    let nodes: Vec<NodeId> = graph.holders().collect();
    for id in nodes {
        let node = graph.node(id);
        let first = node.inputs().len() - node.captures();
        let mut inputs = node.inputs().to_vec();
        // From the last to the first, so that positions before stay right.
        for k in (0..node.captures()).rev() {
            let Some(tensor) = inputs[first + k].and_then(|v| graph.value(v).constant().cloned()) else {
                continue;
            };
            let mut everywhere = true;
            for body in graph.bodies_mut(id) {
                let formal = body.inputs().len() - (inputs.len() - first);
                let input = body.inputs()[formal + k];
                everywhere &= !body.is_output(input);
            }
            if !everywhere {
                continue;
            }
            for body in graph.bodies_mut(id) {
                let formal = body.inputs().len() - (inputs.len() - first);
                let input = body.inputs()[formal + k];
                debug_assert!(matches!(body.value(input).source(), Source::Input { .. }));
                let Ok(constant) = body.add_constant("", tensor.clone()) else { continue };
                if body.replace_uses(input, constant) {
                    let removed = body.remove_input(input);
                    debug_assert!(removed.is_ok(), "nothing uses the input any more");
                }
            }
            inputs.remove(first + k);
        }
        let captures = inputs.len() - first;
        graph.set_inputs(id, &inputs, captures);
        for body in graph.bodies_mut(id) {
            sink_constants(body);
        }
    }
}
