//! What is known of the steps of a build once it has ended, for those who share it.

use std::sync::Arc;

use rbuild_cache::{Key, Layer, Outputs, PartRow};

use crate::attempt::Attempt;
use crate::error::Error;
use crate::graph::VertexId;
use crate::key;
use crate::op::{Op, Select};
use crate::plan::{Node, stacked};
use crate::run::blocking;

/// A step whose result is known, and all that finds it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The step, in its graph.
    pub vertex: VertexId,
    /// The keys of the result: by definition and, where all it was made from is known, by content.
    pub keys: Vec<Key>,
    /// The results.
    pub outputs: Outputs,
    /// The step as a person knows it.
    pub description: String,
    /// The digests of parts of images and earlier results that are in its key by content. Those of
    /// folders are made anew wherever the folder is.
    pub parts: Vec<PartRow>,
}

impl Attempt {
    /// All steps that feed the targets and whose results are known, in the order of the graph.
    ///
    /// With [`Mode::Check`](crate::Mode::Check), nothing is fetched for it.
    pub(crate) async fn used(self: &Arc<Self>) -> Result<Vec<Used>, Error> {
        let plan = &self.context.plan;
        let is_step = |node: &Node| node.op().is_some_and(|(op, _)| !matches!(op, Op::Stack));
        let steps = plan.iter().filter(|(_, node)| is_step(node));
        let keys: Vec<Key> = steps.map(|(_, node)| node.definition).collect();
        let store = self.shared.store.clone();
        let found = blocking("look up results", move || store.find(&keys)).await?;
        let mut found = found.into_iter();
        let (mut known, mut used) = (vec![None; plan.len()], Vec::new());
        for (index, node) in plan.iter() {
            known[index] = match node.op() {
                None => node.pin.clone(),
                Some((Op::Stack, _)) => stacked(&node.vertex, &known),
                Some(_) => found.next().flatten(),
            };
            if let Some(outputs) = known[index].clone().filter(|_| is_step(node)) {
                used.push(self.one_used(node, outputs, &known).await);
            }
        }
        Ok(used)
    }

    async fn one_used(&self, node: &Node, outputs: Outputs, known: &[Option<Outputs>]) -> Used {
        let description = node.vertex.description.clone();
        let (mut keys, mut parts) = (vec![node.definition], Vec::new());
        if let Some((content, rows)) = self.by_content(node, known).await {
            keys.push(content);
            parts = rows;
        }
        Used { vertex: node.id, keys, outputs, description, parts }
    }

    /// The key by content, where it follows from what is known.
    async fn by_content(
        &self,
        node: &Node,
        known: &[Option<Outputs>],
    ) -> Option<(Key, Vec<PartRow>)> {
        let (op, _) = node.op()?;
        let (mut parts, mut rows) = (key::parts(op), Vec::new());
        for (at, edge) in node.vertex.inputs() {
            let input = known[edge.vertex.index()].as_ref()?.get(edge.output)?;
            let part = self.part(&edge.select, input).await.ok()?;
            let is_folder = |layer: &Layer| matches!(layer, Layer::Folder { .. });
            if let (Select::Paths { .. }, Some(part)) = (&edge.select, part)
                && !input.layers.iter().any(is_folder)
            {
                rows.push((input.content, key::select(&edge.select), part));
            }
            parts.extend(part.map(|content| key::input(op, at, content)));
        }
        Some((key::by_content(&parts), rows))
    }
}
