//! Devices that misbehave: by requests written by hand, and as the real agent sees them.

mod agent;
mod energy;
mod plan;
mod shown;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use sim_grid::faces::{Face, UnitRole};
use sim_grid::faults::{Fault, FaultPlan, Spell};
use sim_grid::scenario::Scenario;
use sim_grid::street::{Street, StreetOptions};

use crate::small;

/// The small street: H1 and H2 with SunSpec, B1 with an SDM630.
pub fn scenario() -> Arc<Scenario> {
    Arc::new(small::load(&small::files()).expect("loads"))
}

/// A street in which these things go wrong.
pub async fn street(spells: Vec<Spell>) -> Street {
    let scenario = scenario();
    let from = scenario.timeline.first();
    let faults = FaultPlan::new(11, spells);
    let options = StreetOptions { faults, ..StreetOptions::new(1, from) };
    Street::start(scenario, &options).await.expect("starts")
}

/// A fault of one device of H2, which has SunSpec inverter, meter and battery.
pub fn of(device: UnitRole, fault: Fault) -> Spell {
    Spell { device: Some(device), ..of_port(fault) }
}

/// A fault of all of H2.
pub fn of_port(fault: Fault) -> Spell {
    Spell { customer: Some("H2".to_owned()), ..Spell::always(fault) }
}

pub fn face<'s>(street: &'s Street, customer: &str) -> &'s Face {
    street.faces().iter().find(|face| face.customer.as_str() == customer).expect("a house")
}

pub fn addr(street: &Street, customer: &str) -> SocketAddr {
    face(street, customer).kind.modbus_addr().expect("a Modbus house")
}
