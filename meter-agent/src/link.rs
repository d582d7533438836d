//! The operator's topics that a household listens to, one by one: no wildcard is needed, so a broker
//! can forbid them.

use protocol::{Down, Public, Topic};
use rumqttc::v5::mqttbytes::QoS;
use units::{CommunityId, PointId};

const PUBLIC: [Public; 2] = [Public::Offer, Public::Clearing];

/// What to subscribe to.
#[must_use]
pub fn filters(community: &CommunityId, point: &PointId) -> Vec<(String, QoS)> {
    let down = Down::ALL.into_iter().map(|kind| Topic::Down(point.clone(), kind));
    let public = PUBLIC.into_iter().map(Topic::Public);
    down.chain(public).map(|topic| (topic.name(community), QoS::AtLeastOnce)).collect()
}
