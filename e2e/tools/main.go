// Command tools gets the programs that Elemental's tests and generators run.
//
// For a set of tools it prints, as the last line of its standard output, a folder that holds all of
// them; everything else it says goes to standard error. Tools that are missing are built from source,
// at the versions that the modules below this folder pin, into a cache outside the checkout.
//
//	go run ./e2e/tools controlplane     etcd and Kubernetes
//	go run ./e2e/tools cluster-api      the same, and Cluster API
//	go run ./e2e/tools lint             golangci-lint
//	go run ./e2e/tools generate         controller-gen
//	go run ./e2e/tools check            fails and says what the fast layers of the tests miss on this machine
//	go run ./e2e/tools check all        the same for all layers
//	go run ./e2e/tools packages         prints all Debian packages that the tests need
//	go run ./e2e/tools progress         turns `go test -json` on standard input into a few lines for people
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tools:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("tools", flag.ContinueOnError)
	built := flags.Bool("built", false, "fail instead of building what is missing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch name := flags.Arg(0); name {
	case "check":
		return checkPackages(flags.Arg(1) == "all")
	case "packages":
		fmt.Println(strings.Join(allPackages(), " "))
		return nil
	case "progress":
		return progress(os.Stdin, os.Stdout)
	default:
		folder, err := ensure(ctx, name, *built)
		if err != nil {
			return err
		}
		fmt.Println(folder)
		return nil
	}
}
