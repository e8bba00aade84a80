package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/ports"
)

// labelInPlaceUpdate arms a node for one update.
const labelInPlaceUpdate = "elementalhost.infrastructure.cluster.x-k8s.io/in-place-update"

// order is what the operator asks for.
type order struct {
	host    string
	image   string
	wait    bool
	timeout time.Duration
}

func upgradeHost(c *cli.Context, w world) error {
	words, err := arguments(c)
	if err != nil {
		return err
	}
	if len(words) != 1 {
		return usage(c, fmt.Errorf("elemental upgrade host needs one argument, the name of the host, and not %d", len(words)))
	}
	image, err := imageOf(c.String("image"))
	if err != nil {
		return usage(c, err)
	}
	if c.Duration("timeout") <= 0 {
		return usage(c, errors.New("--timeout must be more than nothing, such as 30m"))
	}
	operator, err := w.connect()
	if err != nil {
		return err
	}
	return upgrade(c.Context, w, operator, order{host: words[0], image: image, wait: c.Bool("wait"), timeout: c.Duration("timeout")})
}

// imageOf completes a reference as it is written for other tools.
func imageOf(reference string) (string, error) {
	switch {
	case reference == "":
		return "", errors.New("--image says which image to ask for, such as oci://registry/os:v1.2.3")
	case strings.ContainsFunc(reference, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "", fmt.Errorf("--image %q has white space in it", reference)
	case strings.Contains(reference, "://"), strings.HasPrefix(reference, "oci-layout:"), strings.HasPrefix(reference, "oci-archive:"):
		return reference, nil
	default:
		return "oci://" + reference, nil
	}
}

func upgrade(ctx context.Context, w world, operator ports.Operator, o order) error {
	found, err := operator.List(ctx, ports.Selection{Kind: core.KindHost, Names: []string{o.host}})
	if err != nil {
		return err
	}
	before := found[0]
	if before.Machine != "" {
		return cli.Exit(servesMachine(before, o.image), exitMachine)
	}
	asked, err := operator.Ask(ctx, before, ports.Change{Image: o.image})
	if err != nil {
		return err
	}
	if asked.Generation == before.Generation {
		fmt.Fprintf(w.out, "host %s/%s is already asked for %s\n", asked.Namespace, asked.Name, o.image)
	} else {
		fmt.Fprintf(w.out, "host %s/%s is asked for %s\n", asked.Namespace, asked.Name, o.image)
	}
	if asked.Bootstrapped && asked.Label != core.LabelPending {
		fmt.Fprintf(w.errs, "The host is a node of a cluster: nothing happens until its label is pending. Drain the node, then\n"+
			"  kubectl label elementalhost -n %s %s --overwrite %s=%s\n", asked.Namespace, asked.Name, labelInPlaceUpdate, core.LabelPending)
	}
	if !o.wait {
		return nil
	}
	return wait(ctx, w, operator, asked, o.timeout)
}

// servesMachine says whom to ask instead of a host.
func servesMachine(host ports.Target, image string) string {
	return fmt.Sprintf("host %s/%s serves the machine %s, which says what it runs; ask that:\n"+
		"  kubectl patch elementalmachine -n %s %s --type=merge -p '{\"spec\":{\"osVersionManagement\":{\"osVersion\":{\"imageUri\":%q}}}}'",
		host.Namespace, host.Name, host.Machine, host.Namespace, host.Machine, image)
}

// wait follows the host until what was asked for runs, or will not.
func wait(ctx context.Context, w world, operator ports.Operator, asked ports.Target, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	lines := &progress{world: w}
	var last core.Waiting
	err := operator.Follow(ctx, ports.Selection{Kind: core.KindHost, Names: []string{asked.Name}}, func(h ports.Target) bool {
		last = core.Wait(asked.Generation, asked.Requested, h.Standing)
		lines.show(h, last)
		return last.End == core.WaitGoesOn
	})
	lines.end()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return cli.Exit(fmt.Sprintf("host %s/%s is not done after %s: %s: %s", asked.Namespace, asked.Name, timeout, last.Reason, plain(last.Message)), exitTimedOut)
	case errors.Is(err, context.Canceled):
		return cli.Exit(fmt.Sprintf("no longer waiting for host %s/%s, which goes on by itself", asked.Namespace, asked.Name), exitInterrupted)
	case err != nil:
		return err
	case last.End == core.WaitFailed:
		return cli.Exit(fmt.Sprintf("host %s/%s: %s: %s", asked.Namespace, asked.Name, last.Reason, plain(last.Message)), exitFailed)
	default:
		fmt.Fprintf(w.out, "host %s/%s is ready: %s\n", asked.Namespace, asked.Name, plain(last.Message))
		return nil
	}
}
