package manual_test

import (
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/cmd/manual"
)

func tree() *cobra.Command {
	do := func(*cobra.Command, []string) error { return nil }
	root := &cobra.Command{Use: "prog", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().StringP("output", "o", "table", "table or json")
	group := &cobra.Command{Use: "thing", Short: "Things"}
	add := &cobra.Command{Use: "add NAME|ID", Short: "Add one", Long: "Adds <one>.", Example: "  prog thing add x --count 3", Args: cobra.ExactArgs(1), RunE: do}
	add.Flags().IntP("count", "c", 0, "how many | at most")
	add.Flags().String("key", "", "the `FILE` of a key")
	if err := add.MarkFlagRequired("count"); err != nil {
		panic(err)
	}
	hidden := &cobra.Command{Use: "secret", Hidden: true, RunE: do}
	group.AddCommand(add, &cobra.Command{Use: "about", Short: "Say what they are", Args: cobra.NoArgs, RunE: do}, hidden)
	root.AddCommand(group)
	return root
}

func TestMarkdown(t *testing.T) {
	page := manual.Markdown(tree(), "# prog\n")
	require.Equal(t, "# prog\n"+`
## Every command takes

| flag | takes | default | |
| --- | --- | --- | --- |
| `+"`-o`, `--output` | string | `table`"+` | table or json |

## Commands

| command | |
| --- | --- |
| [`+"`prog thing about`](#prog-thing-about)"+` | Say what they are |
| [`+"`prog thing add`](#prog-thing-add)"+` | Add one |

### prog thing about

Say what they are.

`+"```text\nprog thing about\n```"+`

### prog thing add

Add one.

Adds &lt;one>.

`+"```text\nprog thing add NAME|ID\n```\n\n```sh\nprog thing add x --count 3\n```"+`

| flag | takes | default | |
| --- | --- | --- | --- |
| `+"`-c`, `--count`"+` | int | required | how many \| at most |
| `+"`--key`"+` | FILE |  | the FILE of a key |
`, page)
	require.Equal(t, page, manual.Markdown(tree(), "# prog\n"))
}

func TestHelp(t *testing.T) {
	text, err := manual.Help(tree())
	require.NoError(t, err)
	require.Contains(t, text, "$ prog thing add --help\nAdds <one>.\n")
	require.NotContains(t, text, "secret")
}

func TestCheck(t *testing.T) {
	for script, says := range map[string]string{
		"prog thing add x --count 3":                                   "",
		"prog thing add -c 3 \"$NAME\" -o json":                        "",
		"X=$(prog thing add x -c 1) && other --flag; prog thing about": "",
		"bin/prog thing about":                                         "",
		"other thing --nothing":                                        "",
		"prog thing":                                                   "group of commands",
		"prog thing ad x":                                              "group of commands",
		"prog nothing":                                                 "unknown command",
		"prog thing add x":                                             `required flag(s) "count"`,
		"prog thing add --count 3":                                     "accepts 1 arg(s)",
		"prog thing add x --count three":                               "invalid argument",
		"prog thing add x --count 3 --no-such":                         "unknown flag",
		"echo $(prog thing about x)":                                   "unknown command",
		"prog thing add 'x":                                            "without closing quote",
	} {
		err := manual.Check(tree, script)
		if says == "" {
			require.NoError(t, err, script)
			continue
		}
		require.ErrorIs(t, err, manual.ErrExample, script)
		require.ErrorContains(t, err, says, script)
	}
}
