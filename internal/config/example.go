package config

import (
	"fmt"
	"strings"
)

// Example returns a configuration file that names every setting, says what it
// does and sets none. Secrets belong into the environment or a NAME_FILE.
func Example() string {
	var b strings.Builder
	b.WriteString("# Settings of the fabric's processes. Each may also be given as the environment variable of\n")
	b.WriteString("# the same name in upper case, which wins. Secrets: environment, or NAME_FILE with a path.\n")
	for _, f := range Fields() {
		b.WriteString("\n# " + f.Doc + "\n")
		if f.Secret {
			fmt.Fprintf(&b, "# %s is a secret: use the environment, or %s_FILE\n", f.Env, f.Env)
			continue
		}
		fmt.Fprintf(&b, "# %s: %q\n", strings.ToLower(f.Env), f.Default)
	}
	return b.String()
}
