//! What changed between two structures of one definition, in words a person can act on.

use std::collections::BTreeSet;

use super::spec::{DefinitionSpec, StepSpec};

impl DefinitionSpec {
    /// What differs in `offered`, one line for each change: steps removed and added, other kinds,
    /// other groups, another order. Empty when the [digests](Self::digest) agree.
    pub fn difference(&self, offered: &Self) -> Vec<String> {
        if self.digest() == offered.digest() {
            return Vec::new();
        }
        let mut lines = Vec::new();
        if (&self.name, self.version) != (&offered.name, offered.version) {
            lines.push(format!(
                "~ it is {} now, and was {}",
                offered.reference(),
                self.reference()
            ));
        }
        for step in self.steps.iter().filter(|step| offered.named(&step.name).is_none()) {
            lines.push(format!("- {} ({}{})", step.name, step.kind, self.beside(step)));
        }
        for step in offered.steps.iter().filter(|step| self.named(&step.name).is_none()) {
            lines.push(format!("+ {} ({}{})", step.name, step.kind, offered.beside(step)));
        }
        for (was, is) in self.shared(offered) {
            if was.kind != is.kind {
                lines.push(format!("~ {} is {} now, and was {}", was.name, is.kind, was.kind));
            }
            if self.companions(was, offered) != offered.companions(is, self) {
                let (is, before) = (offered.company(is), self.company(was));
                lines.push(format!("~ {} runs {is} now, and ran {before}", was.name));
            }
        }
        let order = |of: &Self, other: &Self| -> Vec<String> {
            let kept = of.steps.iter().filter(|step| other.named(&step.name).is_some());
            kept.map(|step| step.name.clone()).collect()
        };
        if order(self, offered) != order(offered, self) {
            lines.push(format!(
                "~ the order is {} now, and was {}",
                offered.outline(),
                self.outline()
            ));
        }
        if lines.is_empty() {
            let (is, was) = (offered.stages(), self.stages());
            lines.push(format!("~ the stages are numbered {is} now, and were numbered {was}"));
        }
        lines
    }

    fn named(&self, name: &str) -> Option<&StepSpec> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// Steps that both have.
    fn shared<'a>(
        &'a self,
        offered: &'a Self,
    ) -> impl Iterator<Item = (&'a StepSpec, &'a StepSpec)> {
        self.steps.iter().filter_map(|step| Some((step, offered.named(&step.name)?)))
    }

    /// The other steps of a step's group.
    fn group<'a>(&'a self, step: &'a StepSpec) -> impl Iterator<Item = &'a str> {
        let same = move |other: &&StepSpec| other.stage == step.stage && other.name != step.name;
        self.steps.iter().filter(same).map(|other| other.name.as_str())
    }

    /// The other steps of its group, without those that `other` does not have at all: that a step
    /// has come or gone is told once, not again by each of its neighbours.
    fn companions<'a>(&'a self, step: &'a StepSpec, other: &Self) -> BTreeSet<&'a str> {
        self.group(step).filter(|name| other.named(name).is_some()).collect()
    }

    fn company(&self, step: &StepSpec) -> String {
        let group: Vec<_> = self.group(step).collect();
        match group.is_empty() {
            true => "on its own".to_owned(),
            false => format!("in parallel with {}", group.join(", ")),
        }
    }

    fn beside(&self, step: &StepSpec) -> String {
        match self.group(step).next() {
            Some(_) => format!(", {}", self.company(step)),
            None => String::new(),
        }
    }

    /// The steps in order, such as `reserve, [redeem | freeze], pay`.
    fn outline(&self) -> String {
        let groups = self.steps.chunk_by(|one, next| one.stage == next.stage);
        let group = |steps: &[StepSpec]| {
            let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
            match names.as_slice() {
                [alone] => (*alone).to_owned(),
                several => format!("[{}]", several.join(" | ")),
            }
        };
        groups.map(group).collect::<Vec<_>>().join(", ")
    }

    fn stages(&self) -> String {
        let stages: Vec<_> = self.steps.iter().map(|step| step.stage.to_string()).collect();
        stages.join(", ")
    }
}
