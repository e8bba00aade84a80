// Package pid1 is the mode in which Elemental is a host's first process: it turns the disk's root into that
// of the deployment which the boot loader chose, and hands over to the deployment's own init.
package pid1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// inits are where an image may have its init, in the order in which the kernel and systemd look for it.
var inits = []string{"/sbin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd"}

// Command is the mode's command. It is for the kernel and for container managers, not for people, and so
// is not listed.
func Command() *cli.Command {
	return &cli.Command{
		Name:            "init",
		Usage:           "be a host's first process and start the chosen deployment",
		ArgsUsage:       parameter + "<id>",
		Hidden:          true,
		HideHelp:        true,
		SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			if os.Getpid() != 1 {
				return errors.New("starting a deployment: only the first process of a host can do that; boot entries run it as their init=")
			}
			return boot(c.Args().Slice())
		},
	}
}

// boot does not return unless it failed. The first process that ends ends the boot, which is what makes the
// boot loader fall back; so an error is said where someone may read it, and nothing else is tried.
func boot(arguments []string) error {
	say, closeConsole := console()
	defer closeConsole()
	err := start(arguments, say)
	say("elemental init: " + err.Error())
	unix.Sync()
	return errGivenUp
}

// errGivenUp ends the process; what went wrong was said before, on the console.
var errGivenUp = errors.New("this boot is given up; the boot loader falls back once the tries of its entry are used up")

// start goes the way from the disk's root to the deployment's init.
func start(arguments []string, say func(string)) error {
	commandLine, err := kernelCommandLine()
	if err != nil {
		return err
	}
	id, err := Deployment(arguments, commandLine)
	if err != nil {
		return err
	}
	say("elemental init: starting deployment " + id)
	init, err := enterDeployment(id, say)
	if err != nil {
		return fmt.Errorf("starting deployment %s: %w", id, err)
	}
	if err := unix.Exec(init, append([]string{init}, forInit(arguments)...), os.Environ()); err != nil {
		return fmt.Errorf("starting deployment %s: executing its %s: %w", id, init, err)
	}
	return nil
}

// enterDeployment makes a deployment's root this process's root, and returns the path of its init there.
func enterDeployment(id string, say func(string)) (init string, err error) {
	disk, err := survey(id)
	if err != nil {
		return "", err
	}
	init, err = findInit(disk)
	if err != nil {
		return "", err
	}
	if err := writable(); err != nil {
		return "", err
	}
	carryOutReset(id, say)
	for _, step := range Plan(disk) {
		if err := step.carryOut(); err != nil {
			return "", fmt.Errorf("%s: %w", step, err)
		}
	}
	return init, nil
}

// forInit are the arguments that are not for Elemental: the kernel hands its init whatever it does not know
// itself, such as "single".
func forInit(arguments []string) []string {
	var rest []string
	for _, argument := range arguments {
		if _, err := Deployment([]string{argument}, ""); err != nil {
			rest = append(rest, argument)
		}
	}
	return rest
}

// survey looks at the disk, and refuses a deployment that is not whole.
func survey(id string) (Disk, error) {
	disk := Disk{Deployment: id, Mounted: map[string]bool{}, Linked: map[string]bool{}}
	for _, folder := range []string{disk.Root(), disk.Etc()} {
		info, err := os.Lstat(folder)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			return disk, fmt.Errorf("there is no folder %s on this disk", folder)
		}
		if err != nil {
			return disk, err
		}
	}
	for _, kernel := range kernelMounts {
		mounted, err := isMountPoint(kernel.folder)
		if err != nil {
			return disk, err
		}
		disk.Mounted[kernel.folder] = mounted
	}
	for _, folder := range []string{"/home", "/root", "/boot", "/tmp"} {
		info, err := os.Lstat(disk.Root() + folder)
		disk.Linked[folder] = err == nil && info.Mode().Type() == fs.ModeSymlink
	}
	_, err := os.Lstat(path.Join(bootFolder, "loader"))
	disk.BootHere = err == nil
	return disk, nil
}

// findInit looks for the deployment's init before anything is mounted, when the error is still cheap.
func findInit(disk Disk) (string, error) {
	root, err := os.OpenRoot(disk.Root())
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	for _, name := range inits {
		// An init that is a link to an absolute path leads out of an os.Root and is right all the same, so
		// a link at the end is not followed: whether it leads anywhere shows when it is executed.
		if info, err := root.Lstat(name[1:]); err == nil && !info.IsDir() {
			return name, nil
		}
	}
	return "", fmt.Errorf("its image has no init: there is none of %s", strings.Join(inits, ", "))
}

// kernelCommandLine reads it, from a /proc that may not be mounted yet.
func kernelCommandLine() (string, error) {
	text, err := os.ReadFile("/proc/cmdline")
	if errors.Is(err, fs.ErrNotExist) {
		if err := unix.Mount("proc", "/proc", "proc", mountFlags["proc"], ""); err != nil {
			return "", fmt.Errorf("mounting /proc: %w", err)
		}
		text, err = os.ReadFile("/proc/cmdline")
	}
	if err != nil {
		return "", fmt.Errorf("reading the kernel command line: %w", err)
	}
	return string(text), nil
}

// console is where a person may read what the first process says. It is opened at once, since its path
// leads elsewhere once the roots are exchanged.
func console() (say func(string), closeConsole func()) {
	file, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return func(line string) { fmt.Fprintln(os.Stderr, line) }, func() {}
	}
	return func(line string) { fmt.Fprintln(file, line) }, func() { _ = file.Close() }
}
