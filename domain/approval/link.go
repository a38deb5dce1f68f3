package approval

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MinSecret is the least length of the secret of links and notices, in bytes.
const MinSecret = 32

// ErrLink says that a link was not made here for this ballot, or is over.
var ErrLink = errors.New("the link does not lead to this ballot, or is over")

// SignLink returns the token of a deep link to a ballot: until when it holds,
// and a MAC over that and the ballot. It shows a ballot to whoever may see it
// anyway; it admits nobody and decides nothing.
func SignLink(secret []byte, tenant, action string, expires time.Time) string {
	until := strconv.FormatInt(expires.Unix(), 10)
	return until + "." + base64.RawURLEncoding.EncodeToString(linkMAC(secret, tenant, action, until))
}

// CheckLink returns nil if the token is one of the ballot's and not over.
// Errors: [ErrLink].
func CheckLink(secret []byte, tenant, action, token string, now time.Time) error {
	until, text, _ := strings.Cut(token, ".")
	mac, err := base64.RawURLEncoding.Strict().DecodeString(text)
	seconds, bad := strconv.ParseInt(until, 10, 64)
	if err != nil || bad != nil || len(secret) < MinSecret || !hmac.Equal(mac, linkMAC(secret, tenant, action, until)) || now.Unix() > seconds {
		return ErrLink
	}
	return nil
}

// linkMAC covers each part with its length, so that no two ballots share one.
func linkMAC(secret []byte, tenant, action, until string) []byte {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "fabric approval link v1 %d:%s%d:%s%d:%s", len(tenant), tenant, len(action), action, len(until), until)
	return mac.Sum(nil)
}

// SignNotice returns the signature header of a notice: t=<unix seconds>,
// v1=<hex HMAC-SHA-256 of "<t>.<body>">. Whoever receives it recomputes the MAC
// and refuses a t that is minutes away.
func SignNotice(secret, body []byte, at time.Time) string {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%d.", at.Unix())
	mac.Write(body)
	return fmt.Sprintf("t=%d,v1=%x", at.Unix(), mac.Sum(nil))
}
