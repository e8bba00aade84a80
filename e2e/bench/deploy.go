package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"elemental/e2e/registry"
)

// deployments is how often each way of deploying is timed; they take turns, so that the machine is the same for
// all.
const deployments = 3

// takeDeployments lays down a system, and then another that differs in one layer, by the image plugin and by
// umoci.
func (b *bench) takeDeployments(ctx context.Context) error {
	if os.Getuid() != 0 {
		b.skip("deploy_cold_s", errors.New("only root can lay down a system"))
		return nil
	}
	b.now("pushes two systems")
	systems, err := b.pushSystems(ctx)
	if err != nil {
		return err
	}
	type way struct {
		deploy func(context.Context, string, [2]registry.Pushed) ([2]time.Duration, error)
		cold   []time.Duration
		layer  []time.Duration
	}
	ours, theirs := &way{deploy: b.byPlugin}, &way{deploy: b.byUmoci}
	ways := []*way{ours, theirs}
	for _, program := range []string{"umoci", "skopeo"} {
		if _, err := exec.LookPath(program); err != nil {
			b.skip("umoci", err)
			ways = ways[:1]
		}
	}
	for n := range deployments {
		for _, w := range ways {
			b.now("deploys systems, %d of %d times so far", n, deployments)
			folder, err := os.MkdirTemp(b.folder, "deploy-")
			if err != nil {
				return fmt.Errorf("making a folder for a system: %w", err)
			}
			syscall.Sync() // What was written before is not to be paid for here.
			took, err := w.deploy(ctx, folder, systems)
			if err := errors.Join(err, os.RemoveAll(folder)); err != nil {
				return err
			}
			w.cold, w.layer = append(w.cold, took[0]), append(w.layer, took[1])
		}
	}
	compare := func(ours, theirs []time.Duration) string {
		if len(theirs) == 0 {
			return "umoci is not here to be compared with"
		}
		return fmt.Sprintf("skopeo, umoci unpack and sync in turns with it take %s s, which is %s times that", number(median(theirs).Seconds()), number(float64(median(theirs))/float64(median(ours))))
	}
	b.figure("deploy_cold_s", median(ours.cold).Seconds(), "the image plugin's stage of Debian with systemd from a registry on loopback to an empty disk, on which it is then durable; median of %s; %s", spread(ours.cold), compare(ours.cold, theirs.cold))
	b.figure("deploy_one_layer_s", median(ours.layer).Seconds(), "after that, of a system that differs in one small layer; median of %s; %s", spread(ours.layer), compare(ours.layer, theirs.layer))
	return nil
}

// byPlugin lets the image plugin stage both systems, on a disk of its own as an installation leaves it.
func (b *bench) byPlugin(ctx context.Context, folder string, systems [2]registry.Pushed) (took [2]time.Duration, err error) {
	for _, name := range []string{"etc/elemental", "proc", "run/elemental", "tmp", "boot/loader/entries", "elemental/bin"} {
		if err := os.MkdirAll(filepath.Join(folder, name), 0o755); err != nil {
			return took, err
		}
	}
	program, err := os.ReadFile(b.Binary)
	if err != nil {
		return took, err
	}
	for name, content := range map[string][]byte{
		"elemental/bin/elemental": program,
		"proc/cmdline":            nil,
		"etc/elemental/image.yaml": fmt.Appendf(nil, "root: /elemental\nboot: /boot\nkernel: none\nplainHTTP: [%q]\n",
			b.Images.Address()),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o755); err != nil {
			return took, err
		}
	}
	for i, system := range systems {
		began := time.Now()
		if err := stage(ctx, folder, system.Reference); err != nil {
			return took, err
		}
		took[i] = time.Since(began)
		if err := boot(folder); err != nil {
			return took, err
		}
	}
	return took, nil
}

// stage calls the image plugin with the folder as its root.
func stage(ctx context.Context, folder, reference string) error {
	request, err := json.Marshal(map[string]any{
		"protocol": "elemental.io/plugin/v1", "verb": "stage", "host": "bench", "workDir": "/tmp",
		"input": map[string]any{"osVersionManagement": map[string]any{"osVersion": map[string]any{"imageUri": reference}}},
	})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/elemental/bin/elemental", "plugin", "image", "stage")
	cmd.Dir, cmd.Env = "/", []string{"HOME=/"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: folder}
	cmd.Stdin = bytes.NewReader(request)
	var said bytes.Buffer
	cmd.Stderr = &said
	answers, err := cmd.Output()
	if err != nil || !strings.Contains(string(answers), `{"result"`) {
		return fmt.Errorf("staging %s: %w\n%s%s", reference, err, answers, said.String())
	}
	return nil
}

// boot makes what is staged look as if it ran and were confirmed.
func boot(folder string) error {
	staged, err := filepath.Glob(filepath.Join(folder, "boot/loader/entries/elemental-*+*.conf"))
	if err != nil || len(staged) != 1 {
		return fmt.Errorf("looking for what was staged: there are %d boot entries on trial: %w", len(staged), err)
	}
	name, _, _ := strings.Cut(staged[0], "+")
	id := strings.TrimPrefix(filepath.Base(name), "elemental-")
	return errors.Join(os.Rename(staged[0], name+".conf"), os.WriteFile(filepath.Join(folder, "run/elemental/deployment"), []byte(id+"\n"), 0o644))
}

// byUmoci copies both systems and unpacks them. It unpacks all layers each time; skopeo copies what is new.
func (b *bench) byUmoci(ctx context.Context, folder string, systems [2]registry.Pushed) (took [2]time.Duration, err error) {
	layout := filepath.Join(folder, "layout")
	for i, system := range systems {
		image, bundle := fmt.Sprintf("%s:v%d", layout, i), filepath.Join(folder, fmt.Sprintf("bundle-%d", i))
		began := time.Now()
		for _, command := range [][]string{
			{"skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://" + strings.TrimPrefix(system.Reference, "oci://"), "oci:" + image},
			{"umoci", "unpack", "--image", image, bundle},
			{"sync", "--file-system", folder},
		} {
			if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
				return took, fmt.Errorf("running %s: %w\n%s", strings.Join(command, " "), err, out)
			}
		}
		took[i] = time.Since(began)
	}
	return took, nil
}
