package plugin_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/adapters/plugin"
	"elemental/ports/portstest"
)

// documented returns what the documentation for plugin authors says.
func documented(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/plugin-protocol.md")
	is.New(t).NoErr(err)
	return string(text)
}

// TestDocumentedExample holds the example of the documentation against the port.
func TestDocumentedExample(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("the example needs jq: apt-get install jq")
	}
	_, after, found := strings.Cut(documented(t), "```sh\n")
	is.New(t).True(found)
	example, _, _ := strings.Cut(after, "```")
	portstest.TestPlugin(t, func(t *testing.T) portstest.PluginCase {
		return portstest.PluginCase{
			Plugin: plugin.NewRunner(plugin.Config{Name: write(t, example), WorkDir: t.TempDir()}),
			First:  `{"motd":"hello"}`, Second: `{"motd":"good \"bye\""}`, Invalid: `{"motd":7}`,
		}
	})
}

// TestDocumentedLimits holds the table of the documentation against the one that is obeyed.
func TestDocumentedLimits(t *testing.T) {
	is := is.New(t)
	text := documented(t)
	is.True(strings.Contains(text, "`"+plugin.Protocol+"`"))
	limits := text[strings.Index(text, "## Limits"):]
	for verb, d := range plugin.Deadlines() {
		words := map[time.Duration]string{30 * time.Second: "30 s", time.Minute: "1 min", 10 * time.Minute: "10 min", 2 * time.Hour: "2 h"}[d.Whole]
		if d.Silent > 0 {
			words += fmt.Sprintf(", and %d min without", int(d.Silent.Minutes()))
		}
		row := ""
		for _, line := range strings.Split(limits, "\n") {
			if strings.Contains(line, "`"+string(verb)+"`") {
				row = line
			}
		}
		is.True(words != "" && strings.Contains(row, "| "+words)) // the documented deadline of the verb
	}
}
