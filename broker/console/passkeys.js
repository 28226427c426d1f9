// Forms that a passkey signs for. On submit: asks the broker what is to be signed, has the browser's own
// dialog do it, puts the answer into the form, and sends it. Without it such a form says why it is refused.
const { startAuthentication, startRegistration } = globalThis.SimpleWebAuthnBrowser;

const sayings = {
  NotAllowedError:
    'Nothing was sent: the dialog was closed, or took too long, or no passkey of yours is on this device, or it could not check that it is you (it needs a PIN, a fingerprint or the like).',
  InvalidStateError: 'This device has a passkey of yours already.',
  NotSupportedError: 'This browser or device has no passkeys that can check that it is you.',
  ConstraintError: 'This device cannot check that it is you: it needs a PIN, a fingerprint or the like.',
  SecurityError: 'Passkeys work on the broker’s own address alone. Open this page there.',
};

async function sign(form) {
  const answer = await fetch(form.dataset.passkey, {
    method: 'POST',
    body: new URLSearchParams(new FormData(form)),
    redirect: 'error',
  });
  const { say, creation, assertion, tooFast } = await answer.json();
  if (tooFast) {
    // Nothing to sign yet: the broker answers the form itself with a warning.
    const told = document.createElement('input');
    Object.assign(told, { type: 'hidden', name: 'warned', value: '1' });
    form.append(told);
    return form.submit();
  }
  if (!answer.ok) throw new Error(say);
  const put = (name, { token }, response) => {
    form.elements[name].value = JSON.stringify({ token, response });
  };
  if (assertion) put('assertion', assertion, await startAuthentication({ optionsJSON: assertion.options }));
  if (creation) put('creation', creation, await startRegistration({ optionsJSON: creation.options }));
  form.submit();
}

for (const words of document.querySelectorAll('[data-needs-script]')) words.remove();

for (const form of document.querySelectorAll('form[data-passkey]')) {
  const told = form.querySelector('[data-told]');
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = event.submitter;
    if (button) button.disabled = true;
    told.hidden = true;
    try {
      await sign(form);
    } catch (error) {
      told.textContent = sayings[error.name] ?? `Nothing was sent. ${error.message}`;
      told.hidden = false;
      told.scrollIntoView({ block: 'center' });
    }
    if (button) button.disabled = false;
  });
}
