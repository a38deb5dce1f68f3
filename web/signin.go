package web

// A signInPage is what the sign-in page shows.
type signInPage struct {
	Start     string // where signing in begins; "" where nobody can
	Simulated bool
}

func signIn(v *visit) error {
	to := ownPage(v.query("to"))
	if v.signed {
		return v.redirect(to)
	}
	var body signInPage
	if v.c.opts.SignIn != nil {
		body = signInPage{Start: Path + "auth/start" + toQuery(to), Simulated: v.c.opts.SignIn.Simulated()}
	}
	return v.render("signin", "Sign in", body)
}
