//! Keys in tokens (PKCS #11 v2.40): the digest goes in, the signature comes out; the key stays there.

use std::path::PathBuf;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use der::asn1::{BitStringRef, ObjectIdentifier, OctetStringRef};
use der::{AnyRef, Decode, Encode};

use super::pkcs11_uri::Pkcs11Uri;
use super::{Remote, digest, failed, to_der};
use crate::key::{Passphrase, PublicKey, Signer, SignerError};
use crate::x509::Certificate;

/// Where modules are that a URI names without a path.
const MODULE_DIRECTORIES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/pkcs11",
    "/usr/lib/aarch64-linux-gnu/pkcs11",
    "/usr/lib64/pkcs11",
    "/usr/lib/pkcs11",
    "/usr/local/lib/pkcs11",
];

/// The key that `uri` names. `pin` is asked for the PIN only where the URI does not say where it is.
pub fn open(
    uri: &Pkcs11Uri,
    pin: impl FnOnce() -> Result<Passphrase, SignerError>,
) -> Result<Box<dyn Signer>, SignerError> {
    let module = module(uri)?;
    let name = module.display().to_string();
    let fail = |why: cryptoki::error::Error| failed(&format!("PKCS #11 module {name}"), &why);
    let context = Pkcs11::new(&module).map_err(fail)?;
    context
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .map_err(fail)?;
    let slot = slot(&context, uri, &name)?;
    let session = context.open_ro_session(slot).map_err(fail)?;
    let pin = match &uri.pin_value {
        Some(pin) => AuthPin::new(pin.as_str().into()),
        None => AuthPin::new(pin()?.0.as_str().into()),
    };
    session
        .login(UserType::User, Some(&pin))
        .map_err(|error| failed("the token refuses the PIN", &error))?;
    let key = one(&session, uri, ObjectClass::PRIVATE_KEY)?
        .ok_or_else(|| SignerError("the token holds no such private key".into()))?;
    let public = public(&session, uri, key)?;
    let algorithm = public.algorithm();
    if digest(algorithm, b"").is_none() {
        return Err(SignerError(format!(
            "the token's key is of type {}; EC keys on P-256, P-384 and P-521 are used",
            algorithm.name()
        )));
    }
    let sign = move |message: &[u8]| {
        // The module lives as long as the session.
        _ = &context;
        let digest = digest(algorithm, message)
            .ok_or_else(|| SignerError("the token's key cannot sign".into()))?;
        let raw = session
            .sign(&Mechanism::Ecdsa, key, &digest)
            .map_err(|error| failed("the token does not sign", &error))?;
        to_der(algorithm, &raw)
            .ok_or_else(|| SignerError("the token's signature is malformed".into()))
    };
    Ok(Box::new(Remote { public, sign }))
}

fn module(uri: &Pkcs11Uri) -> Result<PathBuf, SignerError> {
    if let Some(path) = &uri.module_path {
        // Code is run from there: not from wherever one happens to be.
        if !path.is_absolute() {
            return Err(SignerError("module-path is not an absolute path".into()));
        }
        return Ok(path.clone());
    }
    let Some(name) = &uri.module_name else {
        return Err(SignerError(
            "the URI names no module: add ?module-path=/path/to/module.so".into(),
        ));
    };
    if name.contains('/') {
        return Err(SignerError("a module's name is no path".into()));
    }
    MODULE_DIRECTORIES
        .iter()
        .flat_map(|directory| {
            [
                format!("{directory}/{name}.so"),
                format!("{directory}/{name}"),
            ]
        })
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or_else(|| SignerError(format!("there is no PKCS #11 module {name:?}")))
}

/// The one slot with a token that fits.
fn slot(context: &Pkcs11, uri: &Pkcs11Uri, module: &str) -> Result<Slot, SignerError> {
    let fail = |why: cryptoki::error::Error| failed(&format!("PKCS #11 module {module}"), &why);
    let fits =
        |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let mut fitting = Vec::new();
    for slot in context.get_slots_with_token().map_err(fail)? {
        let Ok(token) = context.get_token_info(slot) else {
            continue;
        };
        if token.token_initialized()
            && fits(&uri.token, token.label())
            && fits(&uri.manufacturer, token.manufacturer_id())
            && fits(&uri.model, token.model())
            && fits(&uri.serial, token.serial_number())
            && uri.slot_id.is_none_or(|id| id == slot.id())
        {
            fitting.push(slot);
        }
    }
    match <[Slot; 1]>::try_from(fitting) {
        Ok([slot]) => Ok(slot),
        Err(none) if none.is_empty() => Err(SignerError(format!(
            "PKCS #11 module {module} has no such token"
        ))),
        Err(several) => Err(SignerError(format!(
            "PKCS #11 module {module} has {} such tokens: name one by token= or serial=",
            several.len()
        ))),
    }
}

/// The one object of a class that fits; `None` if there is none.
fn one(
    session: &Session,
    uri: &Pkcs11Uri,
    class: ObjectClass,
) -> Result<Option<ObjectHandle>, SignerError> {
    let mut template = vec![Attribute::Class(class)];
    template.extend(uri.id.clone().map(Attribute::Id));
    template.extend(
        uri.object
            .as_ref()
            .map(|label| Attribute::Label(label.clone().into_bytes())),
    );
    let found = session
        .find_objects(&template)
        .map_err(|error| failed("the token cannot be searched", &error))?;
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => Err(SignerError(format!(
            "the token holds {} such keys: name one by object= or id=",
            several.len()
        ))),
    }
}

/// The public half: of the public key's object, or of the private key's, or of the certificate.
fn public(
    session: &Session,
    uri: &Pkcs11Uri,
    private: ObjectHandle,
) -> Result<PublicKey, SignerError> {
    let public = one(session, uri, ObjectClass::PUBLIC_KEY)?;
    for object in public.into_iter().chain([private]) {
        if let Some(key) = of_object(session, object) {
            return Ok(key);
        }
    }
    let certificate = one(session, uri, ObjectClass::CERTIFICATE)?;
    let attributes = certificate
        .and_then(|object| session.get_attributes(object, &[AttributeType::Value]).ok())
        .unwrap_or_default();
    for attribute in attributes {
        if let Attribute::Value(der) = attribute
            && let Ok(certificate) = Certificate::from_der(&der)
            && let Ok(key) = certificate.public_key()
        {
            return Ok(key);
        }
    }
    Err(SignerError(
        "the token has neither the public key nor a certificate of this private key".into(),
    ))
}

/// id-ecPublicKey (RFC 5480 §2.1.1).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

fn of_object(session: &Session, object: ObjectHandle) -> Option<PublicKey> {
    let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
    let (mut curve, mut point) = (None, None);
    for attribute in session.get_attributes(object, &wanted).ok()? {
        match attribute {
            Attribute::EcParams(der) => curve = Some(der),
            Attribute::EcPoint(der) => point = Some(der),
            _ => {}
        }
    }
    let (curve, point) = (curve?, point?);
    // The standard wants an OCTET STRING around the point; some tokens give the point alone.
    let point = <&OctetStringRef>::from_der(&point).map_or(&point[..], OctetStringRef::as_bytes);
    let curve = AnyRef::from_der(&curve).ok()?;
    let info = x509_cert::spki::SubjectPublicKeyInfoRef {
        algorithm: x509_cert::spki::AlgorithmIdentifierRef {
            oid: EC,
            parameters: Some(curve),
        },
        subject_public_key: BitStringRef::new(0, point).ok()?,
    };
    PublicKey::from_spki(&info.to_der().ok()?).ok()
}
