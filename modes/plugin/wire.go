package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"elemental/adapters/plugin"
	"elemental/adapters/plugin/boot"
	"elemental/adapters/plugin/cloudinit"
	"elemental/adapters/plugin/commands"
	"elemental/adapters/plugin/conformance"
	"elemental/adapters/plugin/dummy"
	"elemental/adapters/plugin/packages"
	"elemental/adapters/plugin/schema"
	"elemental/adapters/plugin/toolkit"
	hostos "elemental/modes/os"
	"elemental/modes/policy"
	"elemental/ports"
)

// opener makes a plugin for one call.
type opener func(plugin.Opening) (ports.Plugin, error)

// builtins are the plugins that this program serves itself.
func builtins() map[string]opener {
	return map[string]opener{
		"commands": joining(openCommands),
		"dummy":    func(o plugin.Opening) (ports.Plugin, error) { return dummy.New(o.WorkDir), nil },
		"image":    joining(func(plugin.Opening) (ports.Plugin, error) { return hostos.OpenPlugin(hostos.ConfigPath) }),
		"packages": joining(func(o plugin.Opening) (ports.Plugin, error) {
			return packages.New(o.WorkDir, bootOf(o), os.Stderr), nil
		}),

		"elemental-toolkit": joining(openToolkit),
	}
}

// joining is an opener of plugins that name and bootstrap their host, too.
func joining(open opener) opener {
	return func(o plugin.Opening) (ports.Plugin, error) {
		inner, err := open(o)
		if err != nil {
			return nil, err
		}
		return cloudinit.With(inner, "/"), nil
	}
}

// bootOf is the boot that the call names, since the host may be a plain process whose boots are no kernel's; else the
// kernel's own.
func bootOf(o plugin.Opening) func() (string, error) {
	if o.Boot == "" {
		return boot.ID
	}
	return func() (string, error) { return o.Boot, nil }
}

// openCommands asks the host's policy anew at every call.
func openCommands(o plugin.Opening) (ports.Plugin, error) {
	return commands.New(commands.Config{WorkDir: o.WorkDir, Boot: bootOf(o), Log: os.Stderr, Allow: func() error {
		rules, err := policy.Now()
		if err != nil {
			return err
		}
		return rules.AllowCommands()
	}}), nil
}

func openToolkit(o plugin.Opening) (ports.Plugin, error) {
	config, err := readToolkit(toolkitPath, toolkitConfig{
		Command: toolkit.DefaultCommand, StatePath: toolkit.DefaultStatePath, MinFreeMiB: toolkit.DefaultMinFree >> 20, Timeout: toolkit.DefaultTimeout,
	})
	if err != nil {
		return nil, err
	}
	return policy.GateImages(toolkit.New(toolkit.Config{
		WorkDir: o.WorkDir, File: toolkitPath, Command: config.Command, StatePath: config.StatePath, MinFree: config.MinFreeMiB << 20, Timeout: config.Timeout,
		RunPath: toolkit.RunPath, Cmdline: toolkit.Cmdline, Boot: bootOf(o), Began: boot.Began, Log: os.Stderr,
	}), policy.Now), nil
}

func serve(ctx context.Context, stdin io.Reader, stdout io.Writer, open opener) error {
	return plugin.Serve(ctx, stdin, stdout, open)
}

// runner runs a plugin of whoever is at the command line, which may stand in the current folder.
func runner(name, workDir string) *plugin.Runner {
	if whole, err := filepath.Abs(name); err == nil && strings.Contains(name, "/") {
		name = whole
	}
	return plugin.NewRunner(plugin.Config{Name: name, WorkDir: workDir, Builtins: Names()})
}

// inWorkDir runs a plugin in a work dir that is thrown away afterwards.
func inWorkDir(name string, do func(*plugin.Runner) error) error {
	workDir, err := os.MkdirTemp("", "elemental-plugin-")
	if err != nil {
		return fmt.Errorf("making a work dir for the plugin: %w", err)
	}
	if err := errors.Join(do(runner(name, workDir)), os.RemoveAll(workDir)); err != nil {
		return err
	}
	return nil
}

func (t *trial) run(ctx context.Context) error {
	return inWorkDir(t.name, func(r *plugin.Runner) error {
		_, err := conformance.Run(ctx, conformance.Config{
			Plugin: r, Document: t.document, Stage: t.stage, Configure: t.configure, Reset: t.reset,
			Report: func(f conformance.Finding) { t.say(f.What, f.Skipped, f.Err, f.Log) },
		})
		if err != nil {
			return err
		}
		return t.end()
	})
}

func describe(ctx context.Context, name string) (d described, err error) {
	err = inWorkDir(name, func(r *plugin.Runner) error {
		if d.where, err = r.Where(); err != nil {
			return err
		}
		d.Description, err = r.Describe(ctx)
		return err
	})
	if err != nil || len(d.Schema) == 0 {
		return d, err
	}
	compiled, broken := schema.Compile(d.Schema)
	if d.broken = broken; broken != nil {
		return d, nil
	}
	for _, f := range compiled.Fields() {
		d.fields = append(d.fields, field{name: f.Name, kind: f.Type, description: f.Description, depth: f.Depth, required: f.Required})
	}
	return d, nil
}

func schemaNames() []string { return plugin.WireSchemas() }

func wireSchema(name string) []byte { return plugin.WireSchema(name) }
