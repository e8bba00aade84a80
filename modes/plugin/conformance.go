package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/ports"
)

// conformance holds a plugin against what its documentation promises, for its author.
type conformance struct {
	plugin   ports.Plugin
	document []byte // osVersionManagement to ask for; nil: nothing is asked for
	stage    bool   // whether it may be made true on this machine
	out      io.Writer

	description ports.Description
	failed      int
}

func testCommand() *cli.Command {
	return &cli.Command{
		Name: "test", Usage: "test whether a plugin speaks the plugin protocol", ArgsUsage: "PATH",
		Description: "Runs the plugin in a work dir of its own, as the agent does. Without --stage nothing is changed on this machine.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "request", Usage: "`FILE` with an osVersionManagement that the plugin understands, as JSON"},
			&cli.BoolFlag{Name: "stage", Usage: "also stage the request, on this machine"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 || c.Bool("stage") && c.String("request") == "" {
				return cli.Exit("elemental plugin test needs the path of a plugin, after the flags, and --stage needs --request", 2)
			}
			return testPlugin(c.Context, c.Args().First(), c.String("request"), c.Bool("stage"), c.App.Writer)
		},
	}
}

func testPlugin(ctx context.Context, path, requestFile string, stage bool, out io.Writer) error {
	test := conformance{stage: stage, out: out}
	if requestFile != "" {
		var err error
		if test.document, err = os.ReadFile(requestFile); err != nil {
			return fmt.Errorf("reading the request: %w", err)
		}
	}
	workDir, err := os.MkdirTemp("", "elemental-plugin-test-")
	if err != nil {
		return fmt.Errorf("making a work dir for the plugin: %w", err)
	}
	test.plugin = runner(path, workDir, out)
	test.run(ctx)
	if err := os.RemoveAll(workDir); err != nil {
		return fmt.Errorf("removing the plugin's work dir: %w", err)
	}
	if test.failed > 0 {
		return cli.Exit(fmt.Sprintf("%d of what a plugin must do was not so", test.failed), 1)
	}
	return nil
}

func (c *conformance) run(ctx context.Context) {
	c.check("it describes itself", c.describes(ctx))
	if c.failed > 0 {
		return // Nothing else can be asked.
	}
	c.check("it has the verbs that every host needs", c.verbs())
	c.check("its schema is JSON", c.schema())
	c.check("it is satisfied when nothing is requested", c.satisfiedByNothing(ctx))
	c.check("it refuses a list as invalid", c.refusesList(ctx))
	if c.document == nil {
		return
	}
	c.check("it answers the same twice", c.observesTwice(ctx))
	if c.stage {
		c.check("it has what it staged, and stages it twice", c.stages(ctx))
	}
}

func (c *conformance) check(what string, err error) {
	if err == nil {
		fmt.Fprintln(c.out, "ok      "+what)
		return
	}
	c.failed++
	fmt.Fprintf(c.out, "FAILED  %s: %v\n", what, err)
}

func (c *conformance) describes(ctx context.Context) (err error) {
	c.description, err = c.plugin.Describe(ctx)
	if err == nil && c.description.Name == "" {
		return errors.New("it has no name")
	}
	return err
}

func (c *conformance) verbs() error {
	for _, verb := range []core.Verb{core.VerbObserve, core.VerbStage, core.VerbUnstage, core.VerbConfirm} {
		if !slices.Contains(c.description.Verbs, verb) {
			return fmt.Errorf("%s is not among its verbs", verb)
		}
	}
	return nil
}

func (c *conformance) schema() error {
	if len(c.description.Schema) > 0 && !json.Valid(c.description.Schema) {
		return errors.New("it is malformed")
	}
	return nil
}

func (c *conformance) satisfiedByNothing(ctx context.Context) error {
	o, err := c.plugin.Observe(ctx, ports.Request{Host: "test"})
	if err == nil && o.Verdict != core.VerdictSatisfied && o.Verdict != core.VerdictUnconfirmed {
		return fmt.Errorf("its verdict is %s", o.Verdict)
	}
	return err
}

func (c *conformance) refusesList(ctx context.Context) error {
	in, err := requestOf([]byte(`["a list"]`))
	if err != nil {
		return err
	}
	_, err = c.plugin.Observe(ctx, in)
	var failure core.Failure
	switch {
	case err == nil:
		return errors.New("osVersionManagement was [\"a list\"], and it accepted that")
	case !errors.As(err, &failure) || failure.Class != core.FailureInvalid:
		return fmt.Errorf("osVersionManagement was [\"a list\"], and its error is not of class invalid: %w", err)
	default:
		return nil
	}
}

func (c *conformance) observesTwice(ctx context.Context) error {
	in, err := requestOf(c.document)
	if err != nil {
		return err
	}
	first, err := c.plugin.Observe(ctx, in)
	if err != nil {
		return err
	}
	second, err := c.plugin.Observe(ctx, in)
	if err == nil && !reflect.DeepEqual(first, second) {
		return fmt.Errorf("it answered %+v, and then %+v", first, second)
	}
	return err
}

func (c *conformance) stages(ctx context.Context) error {
	in, err := requestOf(c.document)
	if err != nil {
		return err
	}
	for range 2 {
		if err := c.plugin.Do(ctx, core.VerbStage, in, func(ports.Progress) {}); err != nil {
			return err
		}
		o, err := c.plugin.Observe(ctx, in)
		if err != nil {
			return err
		}
		if o.Verdict != core.VerdictSatisfied && (o.Verdict != core.VerdictStaged || !o.NeedsRestart) {
			return fmt.Errorf("its verdict is %s, and must be satisfied, or staged with needsRestart", o.Verdict)
		}
	}
	return nil
}

func requestOf(document []byte) (ports.Request, error) {
	hash, err := core.HashRequest(document)
	if err != nil {
		return ports.Request{}, fmt.Errorf("reading the request: %w", err)
	}
	return ports.Request{Host: "test", OSVersion: document, Hash: hash}, nil
}
