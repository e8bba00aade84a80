package packages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"elemental/adapters/plugin/program"
)

// programs runs the programs of a backend.
type programs struct {
	log io.Writer // takes what they say, line by line: the plugin's log
	// outside is the command by which a program that changes the host outlives the agent. A package may restart the
	// agent, or even be the agent: ended with it, its script would run again and again. Empty where there is none.
	outside []string
}

// outsideAgent is that command on this host: a systemd scope, which is no part of the agent's service, and a session,
// which is no part of the plugin's process group. Whoever comes next waits for what was left at work.
func outsideAgent() []string {
	const systemdRun, setsid = "/usr/bin/systemd-run", "/usr/bin/setsid"
	for _, needed := range []string{systemdRun, setsid, "/run/systemd/system"} {
		if _, err := os.Stat(needed); err != nil {
			return nil
		}
	}
	return []string{
		systemdRun, "--scope", "--quiet", "--collect", "--description=Elemental changes the packages of this host", "--", setsid, "--wait", "--",
	}
}

// run runs a program that may change the host, in the plain language, with the agent's proxies, and logs what it
// says. Errors are those of program.Run.
func (p programs) run(ctx context.Context, c program.Command) (program.Result, error) {
	heard := c.Line
	c.Line = func(line string) {
		fmt.Fprintln(p.log, line)
		if heard != nil {
			heard(line)
		}
	}
	name := filepath.Base(c.Args[0])
	c.Args = slices.Concat(p.outside, c.Args)
	result, err := p.ask(ctx, c)
	var exited *program.ExitError
	if errors.As(err, &exited) {
		exited.Name = name // Not that of the command outside.
	}
	return result, err
}

// ask runs a program that only looks, and whose output is data and not for the log. Whatever is heard of a program is
// without credentials.
func (p programs) ask(ctx context.Context, c program.Command) (program.Result, error) {
	c.Env = append(append([]string{"LC_ALL=C.UTF-8", "LANGUAGE="}, proxies(os.Environ())...), c.Env...)
	c.Line, c.Status = hearing(c.Line), hearing(c.Status)
	result, err := program.Run(ctx, c)
	result.Tail = withoutCredentials(result.Tail)
	var exited *program.ExitError
	if errors.As(err, &exited) {
		exited.Tail = withoutCredentials(exited.Tail)
	}
	return result, err
}

func hearing(hear func(string)) func(string) {
	if hear == nil {
		return nil
	}
	return func(line string) { hear(withoutCredentials(line)) }
}

// credentials are what a URL may hold before its host. Those of a repository or a proxy are the host's own, and tools
// such as dnf write them into their messages.
var credentials = regexp.MustCompile(`://[^/\s'"@]*(?:@[^/\s'"@]*)*@`)

func withoutCredentials(text string) string { return credentials.ReplaceAllString(text, "://") }

// proxies says again in small letters what the environment says of proxies in capitals, since some tools read only
// those.
func proxies(environment []string) []string {
	var small []string
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY":
			small = append(small, strings.ToLower(name)+"="+value)
		}
	}
	return small
}
