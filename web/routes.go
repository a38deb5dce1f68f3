package web

// routes are the addresses of the console, one line each. A pattern's path is
// below [Path].
func (c *Console) routes() []route {
	return append(recordRoutes(), []route{
		{pattern: "GET /{$}", handle: inbox},
		{pattern: "GET /inbox/events", handle: stream(inboxPart)},
		{pattern: "GET /requests/{id}", handle: showRequest},
		{pattern: "POST /requests/{id}/statement", handle: statement},
		{pattern: "POST /requests/{id}/votes", handle: vote},
		{pattern: "GET /settings", handle: settings},
		{pattern: "GET /settings/enrol", handle: enrol},
		{pattern: "POST /settings/statement", handle: enrolment},
		{pattern: "POST /settings/approvers", handle: addApprover},
		{pattern: "POST /settings/approvers/{name}/revoke", handle: revokeApprover},
		{pattern: "POST /settings/tokens", handle: revokeTokens},
		{pattern: "GET /signin", handle: signIn, open: true},
		{pattern: "GET /auth/start", handle: startSignIn, open: true},
		{pattern: "GET /auth/callback", handle: finishSignIn, open: true},
		{pattern: "POST /signout", handle: signOut, open: true},
	}...)
}
