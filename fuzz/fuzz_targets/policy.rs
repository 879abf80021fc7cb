//! Policies: one that is accepted asks for something that can be met, and for no less than it
//! says. A comment changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::credential::Credential;
use weighbridge::policy::Policy;
use weighbridge::statement::Role;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(policy) = Policy::parse(text) else {
        return;
    };
    assert!(text.contains("closed_world"));
    assert!(text.contains(&policy.log.trust.log().to_string()) || text.contains('\\'));

    let roles_are_held = |roles: &[Role]| {
        let held = |role: &Role| {
            policy
                .identities
                .iter()
                .any(|identity| identity.roles.contains(role))
        };
        !roles.is_empty() && roles.iter().all(held)
    };
    assert!(roles_are_held(&policy.gate.signature_roles));
    assert!(!policy.gate.records.is_empty());
    for record in &policy.gate.records {
        assert!(roles_are_held(&record.roles));
        assert!(
            record
                .roles
                .iter()
                .all(|role| record.kind.permitted().contains(role))
        );
    }
    for (number, identity) in policy.identities.iter().enumerate() {
        assert!(!identity.roles.is_empty());
        // The first identity with a key is the one that counts, so there is only one.
        if let Credential::Key(key) = &identity.credential {
            let found = policy.identity(&key.key_id()).expect("it is there");
            assert!(std::ptr::eq(found, identity));
        }
        let others = &policy.identities[number + 1..];
        assert!(others.iter().all(|other| other.name != identity.name));
    }

    let commented = Policy::parse(&format!("{text}\n# comment"));
    let commented = commented.expect("a comment changes nothing");
    assert_eq!(format!("{commented:?}"), format!("{policy:?}"));
});
