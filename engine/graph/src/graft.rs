use crate::{Graph, GraphError, NodeSpec, Source, ValueId};
use oxidane_tensor::Tensor;
use std::collections::HashMap;

impl Graph {
    /// Adds a copy of another graph: its nodes, constants, and those of its inputs that `given` has no value of this graph
    /// for. Gives the value here for each value there; the outputs of this graph stay as they are.
    ///
    /// `rename` says how a value or node of the other graph is called here; an empty name is none. It must not give a
    /// name to a value that another one has.
    ///
    /// # Errors
    /// When a name is taken, or the other graph has a cycle.
    pub fn graft(
        &mut self,
        other: &Graph,
        given: &HashMap<ValueId, ValueId>,
        rename: &dyn Fn(&str) -> String,
    ) -> Result<HashMap<ValueId, ValueId>, GraphError> {
        let mut map = given.clone();
        for &id in other.inputs() {
            if map.contains_key(&id) {
                continue;
            }
            let value = other.value(id);
            let default = match value.source() {
                Source::Input { default } => default.as_deref().cloned(),
                _ => None,
            };
            let made = self.add_input(&rename(value.name()), value.ty().cloned(), default)?;
            map.insert(id, made);
        }
        for (id, value) in other.values() {
            if map.contains_key(&id) {
                continue;
            }
            let name = rename(value.name());
            let made = match value.source() {
                Source::Constant(tensor) => self.add_constant(&name, Tensor::clone(tensor))?,
                _ => self.add_undefined(&name)?,
            };
            map.insert(id, made);
        }
        for (id, value) in other.values() {
            let made = map[&id];
            if given.contains_key(&id) {
                continue;
            }
            self.set_declared(made, value.declared().cloned());
            if value.constant().is_none() {
                self.set_type(made, value.ty().cloned());
            }
            if let Some(notes) = value.notes() {
                self.set_value_notes(made, notes.clone());
            }
        }
        let order = other.order().map_err(|id| GraphError::Cycle(other.place(id).to_string()))?;
        for id in order {
            let node = other.node(id);
            let to = |v: &Option<ValueId>| v.map(|v| map[&v]);
            let inputs: Vec<_> = node.inputs().iter().map(to).collect();
            let outputs: Vec<_> = node.outputs().iter().map(to).collect();
            self.add_node(NodeSpec {
                captures: node.captures(),
                bodies: node.bodies().to_vec(),
                name: rename(node.name()),
                origin: node.origin(),
                notes: node.notes().cloned().unwrap_or_default(),
                ..NodeSpec::new(node.op().clone(), &inputs, &outputs)
            })?;
        }
        Ok(map)
    }
}
