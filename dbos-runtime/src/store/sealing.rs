//! The stored form of rows: everything that is written and read passes through here once.

use crate::error::Result;
use crate::model::info::{Payload, StepInfo, WorkflowInfo};
use crate::model::mailbox::Stored;
use crate::model::schedule::{NewSchedule, ScheduleRow, Tick};
use crate::model::step::StepRow;
use crate::model::stream::StreamRun;
use crate::model::workflow::{Claimed, Ending, Existing};
use crate::model::write::{Effects, Receipt, Write};
use crate::payload::{Codec, Custom, Format, PORTABLE};

impl Codec {
    /// Gives everything in a write its stored form, what has one already excepted.
    pub(crate) fn seal(&self, write: &mut Write) -> Result<()> {
        let Some(custom) = self.custom() else { return Ok(()) };
        match write {
            Write::Start(new) => {
                custom.seal(&mut new.input, &mut new.format)?;
                new.parent.as_mut().map_or(Ok(()), |parent| custom.seal_step(&mut parent.step))
            }
            Write::Record(record) => {
                record.steps.iter_mut().try_for_each(|step| custom.seal_step(step))?;
                custom.seal_effects(&mut record.effects)
            }
            Write::Send(messages) => messages
                .iter_mut()
                .try_for_each(|message| custom.seal(&mut message.value, &mut message.format)),
            Write::Outcome(outcome) => {
                let text = outcome.output.as_mut().or(outcome.error.as_mut());
                text.map_or(Ok(()), |text| custom.seal(text, &mut outcome.format))
            }
            Write::Receive(_) => Ok(()),
        }
    }

    /// Gives the context of a schedule its stored form. There is no column for its format, so the name stands before the
    /// text, in a way that no JSON begins.
    pub(crate) fn seal_schedule(&self, new: &mut NewSchedule) -> Result<()> {
        if let Some(custom) = self.custom().filter(|_| !new.portable) {
            new.context = custom.mark() + &custom.encode(&new.context)?;
        }
        Ok(())
    }

    pub(crate) fn open_schedule(&self, row: &mut ScheduleRow) {
        let Some(custom) = self.custom() else { return };
        let Some(mut text) = row.context.strip_prefix(&custom.mark()).map(ToOwned::to_owned) else { return };
        let mut format = Some(custom.name().to_owned());
        custom.open(&mut text, &mut format);
        if format.as_deref() == Some(PORTABLE) {
            row.sealed = Some(std::mem::replace(&mut row.context, text));
        }
    }

    pub(crate) fn seal_ticks(&self, ticks: &mut [Tick]) -> Result<()> {
        ticks.iter_mut().try_for_each(|tick| self.seal_text(&mut tick.input, &mut tick.format))
    }

    pub(crate) fn seal_step(&self, step: &mut StepRow) -> Result<()> {
        self.custom().map_or(Ok(()), |custom| custom.seal_step(step))
    }

    pub(crate) fn open_stored(&self, stored: &mut Stored) {
        self.open(Some(&mut stored.value), &mut stored.serialization);
    }

    pub(crate) fn open_step(&self, row: &mut StepRow) {
        self.open(row.output.as_mut().or(row.error.as_mut()), &mut row.serialization);
    }

    pub(crate) fn open_ending(&self, ending: &mut Ending) {
        self.open(ending.output.as_mut().or(ending.error.as_mut()), &mut ending.serialization);
    }

    pub(crate) fn open_claimed(&self, claimed: &mut Claimed) {
        self.open(claimed.input.as_mut(), &mut claimed.serialization);
        let ours = self.custom().map_or(PORTABLE, |custom| custom.name());
        if claimed.serialization.as_deref().is_some_and(|name| name != ours && name != PORTABLE) {
            // That it cannot be run is said in a form that everybody reads.
            claimed.format = Format::Portable;
        }
        claimed.history.iter_mut().for_each(|row| self.open_step(row));
    }

    pub(crate) fn open_run(&self, run: &mut StreamRun) {
        run.values.iter_mut().for_each(|stored| self.open_stored(stored));
    }

    pub(crate) fn open_existing(&self, existing: &mut Existing) {
        self.open(existing.input.as_mut(), &mut existing.serialization);
    }

    /// What a receipt brings back.
    pub(crate) fn open_receipt(&self, receipt: &mut Receipt) {
        match receipt {
            Receipt::Received(stored) => self.open_stored(stored),
            Receipt::Taken(row) => self.open_step(row),
            Receipt::Exists(existing) => self.open_existing(existing),
            _ => {}
        }
    }

    pub(crate) fn open_info(&self, info: &mut WorkflowInfo) {
        [&mut info.input, &mut info.output, &mut info.error]
            .into_iter()
            .for_each(|payload| self.show(payload));
    }

    pub(crate) fn open_step_info(&self, info: &mut StepInfo) {
        [&mut info.output, &mut info.error].into_iter().for_each(|payload| self.show(payload));
    }

    fn show(&self, payload: &mut Option<Payload>) {
        if let (Some(custom), Some(payload)) = (self.custom(), payload) {
            let (text, format) = payload.parts();
            custom.open(text, format);
        }
    }
}

impl Custom {
    fn mark(&self) -> String {
        format!("sealed:{}:", self.name())
    }

    /// Durable sleeps stay portable in every program.
    fn seal_step(&self, step: &mut StepRow) -> Result<()> {
        if step.serialization.as_deref() != Some(PORTABLE) || step.name == "DBOS.sleep" {
            return Ok(());
        }
        for text in [&mut step.output, &mut step.error].into_iter().flatten() {
            *text = self.encode(text)?;
        }
        step.serialization = Some(self.name().to_owned());
        Ok(())
    }

    fn seal_effects(&self, effects: &mut Effects) -> Result<()> {
        effects.events.iter_mut().try_for_each(|event| self.seal(&mut event.value, &mut event.format))?;
        effects
            .messages
            .iter_mut()
            .try_for_each(|message| self.seal(&mut message.value, &mut message.format))?;
        effects.streams.iter_mut().try_for_each(|value| self.seal(&mut value.value, &mut value.format))
    }
}
