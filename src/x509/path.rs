//! Certification paths (RFC 5280 §6.1): from a leaf over whatever certificates are at hand to one that
//! is trusted, at one moment.
//!
//! A trusted certificate is an anchor, be it a root, an intermediate or the leaf itself; it must hold at
//! that moment too. The order in which certificates come means nothing. Beyond the RFC: an
//! intermediate with an extended key usage must allow the purpose, as browsers and OpenSSL demand. Names
//! are compared as they are encoded. Policies are not evaluated: who constrains them is refused.

use der::asn1::ObjectIdentifier;

use super::signature::{Scheme, SignatureFault};
use super::{CODE_SIGNING, Certificate, TIME_STAMPING, names};
use crate::time::Timestamp;

/// What the leaf is to be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Signing models: as OMS v1.0 §8.2 has it, by key usage or by extended key usage, and neither may
    /// say otherwise.
    CodeSigning,
    /// Signing timestamps (RFC 3161 §2.3).
    TimeStamping,
}

impl Purpose {
    const fn id(self) -> ObjectIdentifier {
        match self {
            Purpose::CodeSigning => CODE_SIGNING,
            Purpose::TimeStamping => TIME_STAMPING,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Purpose::CodeSigning => "code signing",
            Purpose::TimeStamping => "time stamping",
        }
    }
}

/// Why a certificate does not lead to an anchor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    #[error("no certificate is trusted")]
    NoAnchors,
    #[error("the certificate of {subject} expired at {not_after}, before {at}")]
    Expired {
        subject: String,
        not_after: Timestamp,
        at: Timestamp,
    },
    #[error("the certificate of {subject} is valid from {not_before} on, after {at}")]
    NotYetValid {
        subject: String,
        not_before: Timestamp,
        at: Timestamp,
    },
    #[error("the certificate of {subject} is not for {purpose}: {why}")]
    Purpose {
        subject: String,
        purpose: &'static str,
        why: &'static str,
    },
    #[error(
        "the certificate of {subject} has the critical extension {id}, which is not understood"
    )]
    Critical {
        subject: String,
        id: ObjectIdentifier,
    },
    #[error("{subject} may not issue certificates: {why}")]
    NotAnAuthority { subject: String, why: &'static str },
    #[error("{subject} may not issue this certificate: {why}")]
    Names { subject: String, why: String },
    #[error("the certificate of {subject} is not by {issuer}: {source}")]
    Signature {
        subject: String,
        issuer: String,
        source: SignatureFault,
    },
    #[error(
        "{issuer}, which issued the certificate of {subject}, is neither trusted nor in the bundle"
    )]
    UnknownIssuer { subject: String, issuer: String },
    #[error("the path is longer than {MAX_PATH} certificates, or there are too many to try")]
    TooLong,
}

/// The longest path, anchor included.
pub const MAX_PATH: usize = 10;

/// The most signatures that are verified to find one.
const MAX_SIGNATURES: usize = 100;

/// The path from `leaf` to one of `anchors`, both included. `pool` may hold anything in any order.
pub fn build<'a>(
    leaf: &'a Certificate,
    pool: &'a [Certificate],
    anchors: &'a [Certificate],
    purpose: Purpose,
    at: Timestamp,
) -> Result<Vec<&'a Certificate>, ChainError> {
    if anchors.is_empty() {
        return Err(ChainError::NoAnchors);
    }
    usable(leaf, at)?;
    fits(leaf, purpose)?;
    let mut search = Search {
        pool,
        anchors,
        purpose,
        at,
        signatures: 0,
        exhausted: false,
        fault: None,
    };
    let mut path = vec![leaf];
    if search.extend(&mut path) {
        return Ok(path);
    }
    if search.exhausted {
        return Err(ChainError::TooLong);
    }
    Err(search.fault.unwrap_or_else(|| ChainError::UnknownIssuer {
        subject: label(leaf),
        issuer: leaf.issuer_text.clone(),
    }))
}

struct Search<'a> {
    pool: &'a [Certificate],
    anchors: &'a [Certificate],
    purpose: Purpose,
    at: Timestamp,
    signatures: usize,
    /// There was more to try than is worth trying.
    exhausted: bool,
    /// The first thing that was wrong, with the longest path that got there.
    fault: Option<ChainError>,
}

impl<'a> Search<'a> {
    fn extend(&mut self, path: &mut Vec<&'a Certificate>) -> bool {
        let Some(&last) = path.last() else {
            return false;
        };
        if self.anchors.contains(last) {
            return self.may_name(path);
        }
        if path.len() == MAX_PATH {
            self.exhausted = true;
            return false;
        }
        let (anchors, pool) = (self.anchors, self.pool);
        let mut known = false;
        for (issuer, is_anchor) in anchors
            .iter()
            .map(|one| (one, true))
            .chain(pool.iter().map(|one| (one, false)))
        {
            if self.exhausted {
                return false;
            }
            if issuer.subject != last.issuer || path.contains(&issuer) {
                continue;
            }
            known = true;
            if let Err(fault) = self.issues(issuer, path) {
                self.fault.get_or_insert(fault);
                continue;
            }
            path.push(issuer);
            let leads = if is_anchor {
                self.may_name(path)
            } else {
                self.extend(path)
            };
            if leads {
                return true;
            }
            path.pop();
        }
        if !known && path.len() > 1 {
            let fault = ChainError::UnknownIssuer {
                subject: label(last),
                issuer: last.issuer_text.clone(),
            };
            self.fault.get_or_insert(fault);
        }
        false
    }

    /// May each authority of a path that leads to an anchor name those below it? Asked last: until here,
    /// nobody who is trusted has a part in it.
    fn may_name(&mut self, path: &[&Certificate]) -> bool {
        let mut left = MAX_COMPARISONS;
        for (height, authority) in path.iter().enumerate().skip(1) {
            let Some(constraints) = &authority.extensions.constraints else {
                continue;
            };
            for (depth, below) in path.iter().take(height).enumerate() {
                // Intermediates issued by themselves are exempt, the leaf never is (§6.1.4).
                if depth > 0 && below.subject == below.issuer {
                    continue;
                }
                let Some(rest) =
                    left.checked_sub(names::comparisons(constraints, &below.extensions.names))
                else {
                    self.exhausted = true;
                    return false;
                };
                left = rest;
                if let Some(why) =
                    names::breach(constraints, &below.subject, &below.extensions.names)
                {
                    let subject = label(authority);
                    self.fault.get_or_insert(ChainError::Names { subject, why });
                    return false;
                }
            }
        }
        true
    }

    /// May `issuer` have issued the last certificate of `path`, and did it?
    fn issues(&mut self, issuer: &Certificate, path: &[&Certificate]) -> Result<(), ChainError> {
        let not = |why| ChainError::NotAnAuthority {
            subject: label(issuer),
            why,
        };
        usable(issuer, self.at)?;
        let extensions = &issuer.extensions;
        match &extensions.authority {
            Some(authority) if authority.ca => {
                // Those issued by themselves do not count, and neither does the leaf.
                let between = path.iter().skip(1).filter(|one| one.subject != one.issuer);
                let most = authority.path_len_constraint.map(usize::from);
                if most.is_some_and(|most| between.count() > most) {
                    return Err(not("the path beneath it is longer than it allows"));
                }
            }
            Some(_) => return Err(not("its basic constraints say that it is no authority")),
            // A root of version 1 says nothing; to be trusted by name is enough for it.
            None if issuer.is_version_1
                && issuer.subject == issuer.issuer
                && self.anchors.contains(issuer) => {}
            None => return Err(not("it has no basic constraints")),
        }
        if extensions.usage.is_some_and(|usage| !usage.key_cert_sign()) {
            return Err(not("its key usage does not include signing certificates"));
        }
        if let Some(purposes) = &extensions.purposes
            && !purposes.contains(&self.purpose.id())
            && !purposes.contains(&ANY_PURPOSE)
        {
            return Err(not("its extended key usage does not include the purpose"));
        }
        let Some(last) = path.last() else {
            return Err(ChainError::TooLong);
        };
        if self.signatures == MAX_SIGNATURES {
            self.exhausted = true;
            return Err(ChainError::TooLong);
        }
        self.signatures += 1;
        let signed = &last.signed;
        let verified = Scheme::of(&signed.algorithm)
            .and_then(|scheme| scheme.verify(&issuer.spki, &signed.content, &signed.signature));
        verified.map_err(|source| ChainError::Signature {
            subject: label(last),
            issuer: label(issuer),
            source,
        })
    }
}

/// The most comparisons of a name with a constraint on one path.
const MAX_COMPARISONS: usize = 100_000;

const ANY_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// Does it hold at that moment, and is everything critical in it understood?
fn usable(certificate: &Certificate, at: Timestamp) -> Result<(), ChainError> {
    if let Some(id) = certificate.extensions.unknown {
        let subject = label(certificate);
        return Err(ChainError::Critical { subject, id });
    }
    // The last second is included (RFC 5280 §4.1.2.5).
    if at.seconds() > certificate.not_after.seconds() {
        return Err(ChainError::Expired {
            subject: label(certificate),
            not_after: certificate.not_after,
            at,
        });
    }
    if at < certificate.not_before {
        return Err(ChainError::NotYetValid {
            subject: label(certificate),
            not_before: certificate.not_before,
            at,
        });
    }
    Ok(())
}

/// Is the leaf for this?
fn fits(leaf: &Certificate, purpose: Purpose) -> Result<(), ChainError> {
    let Certificate { extensions, .. } = leaf;
    let not = |why| ChainError::Purpose {
        subject: label(leaf),
        purpose: purpose.name(),
        why,
    };
    let may_sign = extensions.usage.map(|usage| {
        usage.digital_signature() || (purpose == Purpose::TimeStamping && usage.non_repudiation())
    });
    if may_sign == Some(false) {
        return Err(not("its key usage does not include digital signatures"));
    }
    match purpose {
        Purpose::TimeStamping if leaf.is_solely_for(TIME_STAMPING) => Ok(()),
        Purpose::TimeStamping => Err(not(
            "its extended key usage must be critical, and this one alone",
        )),
        Purpose::CodeSigning => match &extensions.purposes {
            Some(purposes) if purposes.contains(&CODE_SIGNING) => Ok(()),
            Some(_) => Err(not("its extended key usage is for something else")),
            None if may_sign == Some(true) => Ok(()),
            None => Err(not("it has neither key usage nor extended key usage")),
        },
    }
}

/// How a certificate is called in messages.
pub(crate) fn label(certificate: &Certificate) -> String {
    match (
        certificate.subject_text.as_str(),
        certificate.names().first(),
    ) {
        ("", Some(name)) => name.to_string(),
        ("", None) => format!("serial number {}", certificate.serial()),
        (subject, _) => format!("{subject:?}"),
    }
}
