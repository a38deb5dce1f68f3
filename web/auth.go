package web

import (
	"crypto/subtle"
	"errors"
	"net/http"

	"github.com/atom-fabric/fabric/api/v1"
)

// Callback is the path that an identity provider sends browsers back to.
const Callback = Path + "auth/callback"

// startSignIn sends a browser to the identity provider. What it must bring
// back is kept in a cookie of its own, which is all that remembers the attempt.
func startSignIn(v *visit) error {
	provider := v.c.opts.SignIn
	if provider == nil {
		return v.redirect(Path + "signin")
	}
	to := ownPage(v.query("to"))
	if at := v.c.opts.URL; "http://"+v.r.Host != at && "https://"+v.r.Host != at {
		// The provider comes back to that address, where this cookie would be missing.
		return v.redirect(at + Path + "auth/start" + toQuery(to))
	}
	a := attempt{State: fresh(), Nonce: fresh(), Verifier: fresh() + fresh(), To: to, Ends: v.now().Add(attemptLasts)}
	address, err := provider.Begin(v.ctx(), a.State, a.Nonce, a.Verifier)
	if err != nil {
		return v.unreachable(err)
	}
	if err := v.c.keep(v.w, v.r, attemptCookie, a, a.Ends); err != nil {
		return err
	}
	return v.redirect(address)
}

// finishSignIn takes what the provider sent along. The session begins when the
// API accepts the token, not before.
func finishSignIn(v *visit) error {
	provider := v.c.opts.SignIn
	if provider == nil {
		return v.redirect(Path + "signin")
	}
	var a attempt
	err := v.c.kept(v.r, attemptCookie, &a)
	v.c.forget(v.w, v.r, attemptCookie, 0)
	switch {
	case err != nil, !v.now().Before(a.Ends), subtle.ConstantTimeCompare([]byte(a.State), []byte(v.query("state"))) != 1:
		return &refusal{http.StatusBadRequest, "This sign-in was not begun here", "It took too long, was begun in another browser, or was finished before. Begin again."}
	case v.query("error") != "" || v.query("code") == "":
		return &refusal{http.StatusForbidden, "Your identity provider did not sign you in", "It says: " + clipped(v.query("error"), 80) + "."}
	}
	token, err := provider.Finish(v.ctx(), v.query("code"), a.Nonce, a.Verifier)
	if err != nil {
		return v.unreachable(err)
	}
	api, err := v.c.clientOf(token, v.r.RemoteAddr)
	if err != nil {
		return err
	}
	who, err := v1.Fetch[v1.Identity](api.WhoAmI(v.ctx(), nil))
	var said *v1.ProblemError
	if errors.As(err, &said) && (said.Status == http.StatusUnauthorized || said.Status == http.StatusForbidden) {
		return &refusal{http.StatusForbidden, "You are signed in, but not admitted", "The API does not accept your provider's token: " + said.Detail + "."}
	}
	if err != nil {
		return err
	}
	s := session{Subject: who.Subject, Tenant: who.Tenant, Roles: who.Roles, Token: token, Began: v.now(), Ends: v.now().Add(sessionLasts)}
	if who.ExpiresAt.Before(s.Ends) {
		s.Ends = who.ExpiresAt
	}
	if err := v.c.keep(v.w, v.r, sessionCookie, s, s.Ends); err != nil {
		return err
	}
	return v.redirect(ownPage(a.To))
}

// unreachable is for whoever looks after the system: the log says why.
func (v *visit) unreachable(err error) error {
	v.c.opts.Log.Warn("sign-in", "error", err.Error())
	return &refusal{http.StatusBadGateway, "Your identity provider did not answer as expected", "The log of the API says why. Try again in a moment."}
}

// signOut ends the session in this browser. Whoever copied its token is stopped
// by a revocation: the token is the provider's.
func signOut(v *visit) error {
	v.c.forget(v.w, v.r, sessionCookie, 0)
	v.w.Header().Set("Clear-Site-Data", `"cache"`)
	return v.redirect(Path + "signin?done=signed-out")
}

// clipped keeps the beginning of a text.
func clipped(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
