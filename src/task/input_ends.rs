//! Which inputs have ended, in a task with feedback edges.
//!
//! Its inputs end one by one: a feedback input ends only after the task has ended the inputs that cause
//! it. So the end of an input closes only the nodes that no other input can reach any more ([ADR
//! 0025](../../docs/adr/0025-feedback-edges-and-draining.md)).

use super::NodeId;

/// Which inputs have ended. For a task without a loop nothing is stored: all end at once.
#[derive(Debug, Default)]
pub(super) struct InputEnds {
    /// By input.
    ended: Vec<bool>,
    /// The inputs that reach each node, by the node's number.
    reaching: Vec<Vec<usize>>,
}

impl InputEnds {
    /// Those of a task with a loop: the source of each input, and the children of each node.
    pub(super) fn in_loop(sources: &[NodeId], children: &[&[NodeId]]) -> Self {
        let mut reaching = vec![Vec::new(); children.len()];
        for (position, source) in sources.iter().enumerate() {
            let mut open = vec![*source];
            while let Some(id) = open.pop() {
                if reaching[id.0].last() != Some(&position) {
                    reaching[id.0].push(position);
                    open.extend(children[id.0]);
                }
            }
        }
        Self {
            ended: vec![false; sources.len()],
            reaching,
        }
    }

    /// These inputs have ended.
    pub(super) fn come(&mut self, inputs: &[usize]) {
        if !self.ended.is_empty() {
            inputs.iter().for_each(|input| self.ended[*input] = true);
        }
    }

    /// Whether an input has ended, as far as it is known.
    pub(super) fn has_come(&self, input: usize) -> bool {
        self.ended.get(input).copied().unwrap_or(false)
    }

    /// Whether it may have: if nothing is stored, a node that is told of an end is told of all.
    pub(super) fn may_have_come(&self, input: usize) -> bool {
        self.ended.get(input).copied().unwrap_or(true)
    }

    /// Whether all inputs that reach a node have ended.
    pub(super) fn have_come_to(&self, node: NodeId) -> bool {
        let reaching = self.reaching.get(node.0);
        reaching.is_none_or(|inputs| inputs.iter().all(|input| self.may_have_come(*input)))
    }

    /// Whether some input has ended.
    pub(super) fn has_any_come(&self) -> bool {
        self.ended.contains(&true)
    }

    /// Whether all have ended.
    pub(super) fn have_all_come(&self) -> bool {
        self.ended.iter().all(|ended| *ended)
    }

    /// An input continues.
    #[inline]
    pub(super) fn forget(&mut self, input: usize) {
        if let Some(ended) = self.ended.get_mut(input) {
            *ended = false;
        }
    }

    /// All inputs continue.
    pub(super) fn forget_all(&mut self) {
        self.ended.fill(false);
    }
}
