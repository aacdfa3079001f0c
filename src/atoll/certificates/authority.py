"""Asks an authority for certificates by ACME (RFC 8555), proving each host by HTTP-01. certbot's `acme` speaks the protocol.

Imported only by the daemon of an environment that asks for it. The library blocks, so each exchange runs in a thread; the
account's key is kept in the vault that it is given, made at the first use.
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from josepy.util import ComparableECKey

from atoll.certificates import pair
from atoll.model.certificate import Certificate, Unusable
from atoll.model.environment import Acme
from atoll.model.errors import NotFound, Retryable
from atoll.ports import Vault

ACCOUNT = "acme-account-key"
_ANSWER_S = 20  # of one exchange with the authority
_NONCES = 5  # RFC 8555 6.5: a refused nonce is no refusal; the library asks twice, and a busy authority refuses many
_ORDER_S = 120.0  # validation and signing; Let's Encrypt takes seconds
_Show = Callable[[str, str], Awaitable[None]]
_T = TypeVar("_T")


class _Network(client.ClientNetwork):
    """The library's, more patient where a nonce was refused: nothing was done then."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        for left in reversed(range(_NONCES)):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as exc:
                if exc.code != "badNonce" or not left:
                    raise
        raise AssertionError(_NONCES)


class AcmeAuthority:
    """`ports.Authority` over ACME."""

    def __init__(self, spec: Acme, ca_file: str, vault: Vault, agent: str) -> None:
        """`ca_file` is the file of `spec.ca`, resolved; `agent` is how we introduce ourselves."""
        self._spec, self._ca_file, self._vault, self._agent = spec, ca_file, vault, agent

    async def certificate(self, host: str, show: _Show) -> Certificate:
        """A new certificate with a new key. Raises Retryable with the authority's words."""
        key = pair.new_key()
        talk = await self._run(self._open, await self._account_key())
        order = await self._run(talk.new_order, crypto_util.make_csr(key.encode(), [host]))
        for authorization in order.authorizations:
            if authorization.body.status == messages.STATUS_VALID:
                continue  # proved not long ago
            body = next((c for c in authorization.body.challenges if isinstance(c.chall, challenges.HTTP01)), None)
            if body is None:
                raise Retryable(f"{self._spec.directory} offers no HTTP-01 for {host}", id="certificate-not-given")
            response, answer = body.response_and_validation(talk.net.key)
            await show(body.chall.path, answer)
            await self._run(talk.answer_challenge, body, response)
        until = dt.datetime.now() + dt.timedelta(seconds=_ORDER_S)  # noqa: DTZ005  the library's own clock
        done = await self._run(talk.poll_and_finalize, order, until)
        try:
            return pair.made(done.fullchain_pem, key)
        except Unusable as exc:
            raise Retryable(f"what the authority gave cannot be used: {exc.why}", id="certificate-not-given") from exc

    async def _account_key(self) -> str:
        try:
            return await self._vault.get(ACCOUNT)
        except NotFound:
            await self._vault.set(ACCOUNT, pair.new_key())
            return await self._vault.get(ACCOUNT)

    def _open(self, pem: str) -> client.ClientV2:
        """A client with its account, which is registered unless it is."""
        private = serialization.load_pem_private_key(pem.encode(), password=None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        key = JWKEC(key=ComparableECKey(private))
        net = _Network(key, alg=ES256, user_agent=self._agent, timeout=_ANSWER_S)
        if self._ca_file:
            net.verify_ssl = self._ca_file  # type: ignore[assignment] # `requests` takes a file as well
        talk = client.ClientV2(client.ClientV2.get_directory(self._spec.directory, net), net)
        wish = messages.NewRegistration.from_data(
            email=self._spec.email or None, terms_of_service_agreed=self._spec.agree
        )
        try:
            talk.new_account(wish)
        except errors.ConflictError as exc:  # it is there: asked for by its key
            net.account = messages.RegistrationResource(uri=exc.location, body=messages.Registration())
        return talk

    async def _run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """In a thread, with the library's errors as ours."""
        try:
            return await asyncio.to_thread(work, *arguments)
        except errors.ValidationError as exc:
            raise Retryable(_refusal(exc), id="certificate-not-given") from exc
        except errors.IssuanceError as exc:
            raise Retryable(_words(exc.error), id="certificate-not-given") from exc
        except messages.Error as exc:
            raise Retryable(_words(exc), id="certificate-not-given") from exc
        except errors.TimeoutError as exc:
            raise Retryable(f"it did not decide within {_ORDER_S:g} s", id="certificate-not-given") from exc
        except requests.RequestException as exc:
            why = f"{self._spec.directory} cannot be reached ({type(exc).__name__})"
            raise Retryable(why, id="certificate-not-given") from exc
        except (errors.Error, JoseError, ValueError, KeyError) as exc:
            why = f"{self._spec.directory} does not speak ACME as RFC 8555 has it ({type(exc).__name__}: {exc})"
            raise Retryable(why, id="certificate-not-given") from exc


def _words(error: messages.Error) -> str:
    return f"{error.detail or error.title or 'no reason given'} ({error.code or error.typ})"


def _refusal(exc: errors.ValidationError) -> str:
    """Which host was not proved, and why."""
    return "; ".join(
        _words(challenge.error)
        for authorization in exc.failed_authzrs
        for challenge in authorization.body.challenges
        if challenge.error is not None
    )
