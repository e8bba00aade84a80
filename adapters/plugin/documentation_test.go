package plugin_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// example cuts a plugin out of the documentation, by the language of its block.
func example(t *testing.T, language string) string {
	t.Helper()
	_, after, found := strings.Cut(documented(t), "```"+language+"\n")
	is.New(t).True(found)
	text, _, _ := strings.Cut(after, "```")
	return text
}

// TestDocumentedExamples holds the examples of the documentation against the port.
func TestDocumentedExamples(t *testing.T) {
	for language, program := range map[string]string{"sh": "jq", "python": "python3"} {
		t.Run(language, func(t *testing.T) {
			// A plugin is not given this process's PATH.
			if _, err := os.Stat("/usr/bin/" + program); err != nil {
				t.Skipf("the example needs %s: apt-get install %s", program, program)
			}
			portstest.TestPlugin(t, func(t *testing.T) portstest.PluginCase {
				return portstest.PluginCase{
					Plugin: plugin.NewRunner(plugin.Config{Name: write(t, example(t, language)), WorkDir: t.TempDir()}),
					First:  `{"motd":"hello"}`, Second: `{"motd":"good \"bye\""}`, Invalid: `{"motd":7}`,
				}
			})
		})
	}
}

// TestDocumentedTrial tries an example by hand, as it is documented: in the folder that it is in, under its own name.
func TestDocumentedTrial(t *testing.T) {
	is := is.New(t)
	_, block, found := strings.Cut(documented(t), "To try it by hand:\n\n```console\n$ ")
	is.True(found)
	command, answer, _ := strings.Cut(strings.SplitN(block, "```", 2)[0], "\n")
	for language, program := range map[string]string{"sh": "jq", "python": "python3"} {
		t.Run(language, func(t *testing.T) {
			is := is.New(t)
			if _, err := os.Stat("/usr/bin/" + program); err != nil {
				t.Skipf("the example needs %s: apt-get install %s", program, program)
			}
			folder := t.TempDir()
			is.NoErr(os.WriteFile(filepath.Join(folder, "motd"), []byte(example(t, language)), 0o755))
			try := func(line string) string {
				shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", line)
				shell.Dir = folder
				said, err := shell.CombinedOutput()
				is.NoErr(err)
				return strings.ReplaceAll(string(said), " ", "") // Python writes more of them.
			}
			is.Equal(try(command), answer)
			// Nor does it overwrite itself.
			try(strings.ReplaceAll(command, "observe", "stage"))
			is.True(strings.Contains(try(command), `"satisfied"`))
		})
	}
}

// TestDocumentedMisbehaviour holds the table of the documentation against what was seen of plugins that misbehave.
func TestDocumentedMisbehaviour(t *testing.T) {
	is := is.New(t)
	_, table, found := strings.Cut(documented(t), "## When a plugin misbehaves")
	is.True(found)
	table, _, _ = strings.Cut(table, "\n## ")
	words := map[string]string{}
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) == 5 && strings.Contains(cells[2], "`") {
			words[strings.Trim(cells[2], " `")] = cells[3]
		}
	}
	seen := map[string]bool{}
	for _, c := range misbehaviours {
		seen[c.reason] = true
		_, documented := words[c.reason]
		is.True(documented) // its reason
	}
	is.Equal(len(words), len(seen)+1) // VerbNotSupported is no fault
	for reason, text := range words {
		first, _, _ := strings.Cut(strings.TrimSpace(text), ";")
		first = strings.NewReplacer("2h0m0s", "200ms", "/opt/acme/os-plugin", "PLUGIN").Replace(first)
		told := func() bool {
			for _, c := range misbehaviours {
				if c.reason == reason && strings.Contains(c.message, first) {
					return true
				}
			}
			return reason == "VerbNotSupported" || reason == "PluginNotFound"
		}
		if !told() {
			t.Errorf("no test sees the words %q", first)
		}
	}
}

// TestDocumentedLimits holds the table of the documentation against the one that is obeyed.
func TestDocumentedLimits(t *testing.T) {
	is := is.New(t)
	text := documented(t)
	is.True(strings.Contains(text, "`"+plugin.Protocol+"`"))
	_, limits, _ := strings.Cut(text, "## Limits")
	limits, _, _ = strings.Cut(limits, "\n## ")
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
