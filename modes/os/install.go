package hostos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"elemental/modes/agentfile"
	"elemental/modes/manual"
	"elemental/ports"
)

// installCommand is `elemental os install`.
func installCommand() *cli.Command {
	return &cli.Command{
		Name: "install", Usage: "install a system, from which a host or a machine for tests begins",
		Description: manual.Page{
			Text: "Lays an image down as the first system of a host, with nothing to fall back to. With --root it does so in a file\n" +
				"system that was prepared and is mounted there, with the boot partition at its /boot, where the image brings its\n" +
				"kernel. The installed system gets the image plugin's configuration that this command reads, and the\n" +
				"agent's configuration that --config names. Killed at any moment and called again, it goes on.\n\n" +
				"It needs root, and asks no cluster. It refuses to lose data: what holds an installation or other files is left\n" +
				"alone unless --overwrite says otherwise. Then Elemental's own files of the system before are removed, and\n" +
				"all others stay. A host that joins a cluster by itself is better installed by `elemental agent install`.",
			Examples: []manual.Example{{
				Does: "Install a system into a file system that is mounted.",
				Line: "elemental os install --root /mnt/disk --image oci://my-registry/my-image:v2 --config agent.yaml",
			}},
			Statuses: []manual.Status{
				{Code: 0, Means: "the system can be booted"},
				{Code: 1, Means: "it could not be installed, or something else is there; the error says which"},
			},
			See: []string{"elemental agent install", "elemental os upgrade"},
		}.String(),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "image", Usage: "install `IMAGE`, such as oci://registry/repository:tag"},
			&cli.StringFlag{Name: "root", Usage: "install into the file system that is mounted at `FOLDER`"},
			&cli.StringFlag{Name: "config", Usage: "let `FILE` be the agent's configuration of the installed system"},
			&cli.StringFlag{Name: "name", Usage: "let the installed system be called `HOSTNAME`"},
			&cli.StringFlag{Name: "image-config", Value: ConfigPath, Usage: "read the configuration of images from `FILE`"},
			&cli.BoolFlag{Name: "overwrite", Usage: "install even if something else is there"},
		},
		Action: func(c *cli.Context) error {
			request, err := installRequest(c)
			if err != nil {
				return err
			}
			config, err := ReadConfig(c.String("image-config"))
			if err != nil {
				return err
			}
			d, err := wire(config)
			if err != nil {
				return err
			}
			if err := d.install(c.Context, request, printProgress(c.App.ErrWriter)); err != nil {
				return fmt.Errorf("installing %s: %w", c.String("image"), err)
			}
			_, err = fmt.Fprintf(c.App.Writer, "%s is installed in %s\n", c.String("image"), c.String("root"))
			return err
		},
	}
}

// installRequest says what the flags say.
func installRequest(c *cli.Context) (ports.Request, error) {
	for _, needed := range []string{"image", "root"} {
		if c.String(needed) == "" {
			return ports.Request{}, cli.Exit(fmt.Sprintf("elemental os install needs --%s; see elemental os install --help", needed), 2)
		}
	}
	root, err := filepath.Abs(c.String("root"))
	if err != nil {
		return ports.Request{}, fmt.Errorf("finding %s: %w", c.String("root"), err)
	}
	request := ports.Request{Hostname: c.String("name")}
	request.Options, err = json.Marshal(map[string]any{"image": c.String("image"), "root": root, "overwrite": c.Bool("overwrite")})
	if err != nil {
		return ports.Request{}, err
	}
	if path := c.String("config"); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return ports.Request{}, fmt.Errorf("reading the agent's configuration: %w", err)
		}
		request.Files = append(request.Files, ports.File{Path: agentfile.Path, Mode: 0o600, Data: text})
	}
	return request, nil
}

// own are the files by which the image plugin of an installed system is configured as this one is.
func (c Config) own() ([]ports.File, error) {
	var files []ports.File
	for path, to := range map[string]string{c.file: ConfigPath, c.Credentials: c.Credentials} {
		if path == "" {
			continue
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // Both may be missing.
		}
		if err != nil {
			return nil, err
		}
		files = append(files, ports.File{Path: to, Mode: 0o600, Data: text})
	}
	return files, nil
}
