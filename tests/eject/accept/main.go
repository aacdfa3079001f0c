// Command accept reads Compose files as `docker compose config` does, with the library that it is made of, and prints the
// names of the services. What is wrong goes to standard error, and it ends with 1.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:], cli.WithOsEnv, cli.WithEnvFiles(), cli.WithDotEnv)
	if err == nil {
		project, failed := options.LoadProject(context.Background())
		if failed == nil {
			for _, name := range project.ServiceNames() {
				fmt.Println(name)
			}
			return
		}
		err = failed
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
